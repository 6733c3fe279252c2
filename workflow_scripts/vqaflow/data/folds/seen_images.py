"""Training images that reappear in test: a score on them says nothing about new images.

Shapes: N training rows, M test rows, U distinct images or hashes of both.
"""

from typing import Any

import numpy as np
import pandas as pd

from vqaflow.data.images.near_duplicates import hash_numbers, near_pairs

EXAMPLES = 20  # pairs of rows that are listed
NONE = -1


def seen_images(train: pd.DataFrame, test: pd.DataFrame, near_distance: int) -> dict[str, Any]:
    """Images of both tables (columns id, sha256, phash): ``exact`` with equal bytes, ``near`` with other bytes.

    Near means that the perceptual hashes differ in at most `near_distance` bits. Images that are in both tables are not
    counted again as near, but others may be near to them.
    """
    test = test.dropna(subset=["sha256"])
    return {
        "exact": _matches(train, test, *_codes(train["sha256"].to_numpy(), test["sha256"].to_numpy())),
        "near": {"distance": near_distance, **_near_matches(train, test, near_distance)},
    }


def _codes(train_keys: np.ndarray, test_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The training rows' and test rows' numbers among the U distinct keys, and which keys are in both tables."""
    codes, _ = pd.factorize(np.concatenate([train_keys, test_keys]), sort=True)
    train_N, test_M = codes[: len(train_keys)], codes[len(train_keys) :]
    in_train_U, in_test_U = (np.bincount(side, minlength=codes.max(initial=-1) + 1) > 0 for side in (train_N, test_M))
    return train_N, test_M, np.where(in_train_U & in_test_U, np.arange(len(in_train_U)), NONE)


def _near_matches(train: pd.DataFrame, test: pd.DataFrame, distance: int) -> dict[str, Any]:
    hashes = hash_numbers(train["phash"]), hash_numbers(test["phash"])
    train_N, test_M, partner_U = _codes(*hashes)
    in_train_U, in_test_U = (np.isin(np.arange(len(partner_U)), side) for side in (train_N, test_M))
    test_of_U, train_of_U = partner_U.copy(), partner_U
    for pair in near_pairs(np.unique(np.concatenate(hashes)), distance):
        for i, j in (pair, pair[::-1]):
            crossing = in_train_U[i] & in_test_U[j]
            test_of_U[i[crossing]] = j[crossing]
            train_of_U[j[crossing]] = i[crossing]
    new_N, new_M = ~train["sha256"].isin(test["sha256"]), ~test["sha256"].isin(train["sha256"])
    counted = _matches(train[new_N], test, train_N[new_N], test_M, test_of_U, train_of_U)
    return counted | {"test_rows": int((train_of_U[test_M[new_M]] != NONE).sum())}


def _matches(
    train: pd.DataFrame,
    test: pd.DataFrame,
    train_N: np.ndarray,
    test_M: np.ndarray,
    test_of_U: np.ndarray,
    train_of_U: np.ndarray | None = None,
) -> dict[str, Any]:
    """Rows and images with a partner in the other table; `test_of_U` and `train_of_U` give the partner of each key."""
    in_test_N = test_of_U[train_N] != NONE
    in_train_M = (test_of_U if train_of_U is None else train_of_U)[test_M] != NONE
    first_test = dict(zip(reversed(test_M.tolist()), reversed(test["id"].tolist()), strict=True))
    shown = zip(train["id"][in_test_N].tolist()[:EXAMPLES], train_N[in_test_N].tolist(), strict=False)
    return {
        "train_rows": int(in_test_N.sum()),
        "train_images": int(train["sha256"][in_test_N].nunique()),
        "test_rows": int(in_train_M.sum()),
        "examples": [{"train": row_id, "test": first_test[int(test_of_U[key])]} for row_id, key in shown],
    }
