"""Even folds: whole groups are assigned, and each fold gets its share of every type and answer.

Shapes: N rows, G groups, F features of a group (its rows by stratum and by value of a column).
"""

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from vqaflow.data.folds.exchange import even_out

TOLERANCE = 0.03  # how far a type's or an answer's share in a fold may be from its share in all rows
MARGIN_WEIGHT = 2.0  # weight of single types, answers and the number of rows, relative to type x answer


def deal(strata: pd.DataFrame, groups_N: np.ndarray, n: int, seed: int) -> np.ndarray:
    """A fold from 0 to `n` - 1 for each row, the same within a group; no fold is empty if there are `n` groups.

    scikit-learn's splitter assigns groups one by one and never moves them again, which leaves small tables several
    points off. The exchange of groups starts from its folds.
    """
    fold_N = first_deal(strata, groups_N, n, seed)
    features_GF = group_features(strata, groups_N)
    fold_G = np.empty(len(features_GF), dtype=np.int64)
    fold_G[groups_N] = fold_N
    return even_out(features_GF, fold_G, n)[groups_N]


def first_deal(strata: pd.DataFrame, groups_N: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The folds of StratifiedGroupKFold on all columns of `strata` together."""
    stratum_N = strata.groupby(list(strata)).ngroup().to_numpy()
    if np.bincount(stratum_N).max() < n:  # the splitter refuses such strata
        stratum_N = np.zeros_like(stratum_N)
    splitter = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
    fold_N = np.empty(len(strata), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for fold, (_, held_out) in enumerate(splitter.split(stratum_N, stratum_N, groups_N)):
            fold_N[held_out] = fold
    return fold_N


def group_features(strata: pd.DataFrame, groups_N: np.ndarray) -> np.ndarray:
    """What each group brings into its fold, (G, F): rows of each stratum, of each value of a column, and in all."""
    cells = pd.get_dummies(strata.groupby(list(strata)).ngroup(), dtype=float)
    margins = [pd.get_dummies(strata[column], dtype=float) for column in strata]
    rows = pd.DataFrame({"rows": 1.0}, index=strata.index)
    weighted = pd.concat([*margins, rows], axis=1) * MARGIN_WEIGHT
    return pd.concat([cells, weighted], axis=1).groupby(groups_N).sum().to_numpy()


def shares(values: pd.Series, fold_N: np.ndarray | pd.Series) -> dict[str, dict[str, Any]]:
    """The share of each value among all rows (``whole``) and among those of each fold (``folds``)."""
    whole = values.value_counts(normalize=True).sort_index()
    by_fold = pd.crosstab(np.asarray(fold_N), values.to_numpy(), normalize="index")
    return {value: {"whole": float(share), "folds": by_fold[value].tolist()} for value, share in whole.items()}


def balance_report(strata: pd.DataFrame, fold_N: np.ndarray, groups_N: np.ndarray) -> dict[str, Any]:
    """The `shares` of each column's values; ``outside`` lists those of single folds beyond the tolerance."""
    report: dict[str, Any] = {column: shares(strata[column], fold_N) for column in strata}
    outside = []
    for column, entries in report.items():
        for value, entry in entries.items():
            held = (strata[column] == value).to_numpy()
            about = {"column": column, "value": value, "whole": entry["whole"], "rows": int(held.sum())}
            about["largest_group"] = int(np.bincount(groups_N[held]).max())
            outside += [
                about | {"fold": fold, "share": share, "one_row": 1 / int((fold_N == fold).sum())}
                for fold, share in enumerate(entry["folds"])
                if abs(share - entry["whole"]) > TOLERANCE
            ]
    return report | {"tolerance": TOLERANCE, "outside": outside}
