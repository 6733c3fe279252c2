"""The ensemble's members one by one (one view, one fold, one choice order), and how much they differ.

Shapes: N rows of the training table, V views, K choice orders, C = 4 choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.score_files import ScoreFile, read_logits, row_index, views_of
from vqaflow.ensemble.members import fold_log_probabilities
from vqaflow.ensemble.pooling import POOLS
from vqaflow.ensemble.recipe_file import learned, priors_of
from vqaflow.ensemble.recipes import Recipe
from vqaflow.model.encoding.orders import inverse
from vqaflow.reporting.statistics import accuracy_summary, paired_summary, recall_by_letter, recall_spread
from vqaflow.runtime.progress import ProgressBar
from vqaflow.scoring.order_pooling import pool_orders

ABSENT = -1  # instead of a predicted letter (0 to 3), where a view does not have the row
SEED = 0  # of the bootstrap


@dataclass(frozen=True)
class View:
    """What one view predicts for each row: after pooling over its orders, and in each single order."""

    predicted_N: np.ndarray
    by_order: dict[str, np.ndarray]

    @property
    def present_N(self) -> np.ndarray:
        """The rows that the view has."""
        return self.predicted_N != ABSENT

    def consistent(self) -> np.ndarray:
        """For each row that the view has, whether all its orders lead to the same letter."""
        every = np.stack([predicted_N[self.present_N] for predicted_N in self.by_order.values()])
        known = np.where(every == ABSENT, every.max(0), every)  # folds may be scored in different orders
        return (known == known[0]).all(0)

    def right_by_order(self, answers_N: np.ndarray) -> dict[str, np.ndarray]:
        """For each order, which of the rows scored in it are right."""
        return {
            order: (predicted_N == answers_N)[predicted_N != ABSENT] for order, predicted_N in self.by_order.items()
        }

    def recall_by_position(self, answers_N: np.ndarray) -> list[float | None]:
        """Share of right answers by the position (0 to 3) at which the right choice is shown, over all orders."""
        predicted, right = [], []
        for order, predicted_N in self.by_order.items():
            there = predicted_N != ABSENT
            place = np.array(inverse(order))
            predicted.append(place[predicted_N[there]])
            right.append(place[answers_N[there]])
        return recall_by_letter(np.concatenate(predicted), np.concatenate(right))


def read_views(rows: pd.DataFrame, files: Sequence[ScoreFile], report: Mapping[str, Any]) -> dict[str, View]:
    """Read the OOF `files` for `rows` (id, fold) and pool over orders as recipe.json says."""
    priors = priors_of(report)
    views: dict[str, View] = {}
    for name in views_of(files):
        predicted_N = np.full(len(rows), ABSENT)
        by_order: dict[str, np.ndarray] = {}
        for file in (f for f in files if f.view == name):
            mine = np.flatnonzero(rows["fold"] == file.fold)
            logits = read_logits(file, row_index(rows["id"].iloc[mine].tolist()))
            if not logits.present_N.any():
                continue
            there = mine[logits.present_N]
            pooled_NC = pool_orders(logits, report["order_pooling"], priors.get((file.fold, name)))
            predicted_N[there] = pooled_NC[logits.present_N].argmax(1)
            for place, order in enumerate(logits.orders):
                alone_N = by_order.setdefault(order, np.full(len(rows), ABSENT))
                alone_N[there] = logits.logits_NKC[logits.present_N, place].argmax(1)
        if by_order:
            views[name] = View(predicted_N, by_order)
    return views


def single_pass_metrics(rows: pd.DataFrame, views: Mapping[str, View]) -> dict[str, Any]:
    """The accuracy of each view, fold's view, order and position, and of the ensemble on the same rows."""
    answers = rows["answer_index"].to_numpy()
    recall = recall_by_letter(rows["predicted"].to_numpy(), answers)
    metrics: dict[str, Any] = {
        "by_view": {},
        "single": {},
        "by_order": {},
        "order_consistency": {},
        "position_bias": {"ensemble": {"recall": recall, "rstd": recall_spread(recall)}, "views": {}},
    }
    for name, view in views.items():
        metrics["by_view"][name] = member_summary(rows, view, view.present_N)
        for fold in np.unique(rows["fold"]):
            of_fold = view.present_N & (rows["fold"] == fold).to_numpy()
            metrics["single"][f"fold{fold}/{name}"] = member_summary(rows, view, of_fold)
        right = view.right_by_order(answers)
        metrics["by_order"][name] = {order: accuracy_summary(hits) for order, hits in right.items()}
        metrics["order_consistency"][name] = share_summary(view.consistent())
        recall = view.recall_by_position(answers)
        metrics["position_bias"]["views"][name] = {"recall": recall, "rstd": recall_spread(recall)}
    return metrics


def member_summary(rows: pd.DataFrame, view: View, there_N: np.ndarray) -> dict[str, Any]:
    """A view's accuracy on some rows, and the ensemble's gain over it on the same rows."""
    right = (view.predicted_N == rows["answer_index"].to_numpy())[there_N]
    groups, ensemble = rows["group"].to_numpy()[there_N], rows["right"].to_numpy()[there_N]
    return accuracy_summary(right, groups, SEED) | {
        "ensemble_against_it": paired_summary(right, ensemble, groups, SEED)
    }


def share_summary(hits: np.ndarray) -> dict[str, Any]:
    """A share other than an accuracy, with n and its Wilson interval."""
    summary = accuracy_summary(hits)
    return {"share": summary["accuracy"], "n": summary["n"], "wilson": summary["wilson"]}


def error_correlation(rows: pd.DataFrame, views: Mapping[str, View]) -> dict[str, Any]:
    """Pearson correlation of two views' errors on their common OOF rows; None if one makes no or only errors."""
    answers = rows["answer_index"].to_numpy()
    matrix = []
    for first in views.values():
        line = []
        for second in views.values():
            both = first.present_N & second.present_N
            wrong = [(view.predicted_N != answers)[both].astype(float) for view in (first, second)]
            varied = all(len(w) and 0 < w.mean() < 1 for w in wrong)
            line.append(float(np.corrcoef(*wrong)[0, 1]) if varied else None)
        matrix.append(line)
    return {"names": list(views), "correlation": matrix}


def fold_agreement(test_table: Path, files: Sequence[ScoreFile], report: Mapping[str, Any]) -> dict[str, Any]:
    """Share of test rows that two folds' adapters answer alike (each OOF row is answered by one fold only)."""
    table = pl.read_parquet(test_table, columns=["id", "usable"])
    index = row_index(table["id"].filter(table["usable"]))
    by_place = {(f.fold, f.view): f for f in files if f.split == "test"}
    folds = sorted({fold for fold, _ in by_place})
    recipe = Recipe(report["order_pooling"], report["pooling"])
    pool = POOLS[recipe.pooling]
    priors, params = priors_of(report), learned(report)
    answers = []
    with ProgressBar(len(by_place), "read test scores", unit="file") as bar:
        for fold in folds:
            of_fold = [by_place.get((fold, view)) for view in views_of(files)]
            logp_NVC = fold_log_probabilities(of_fold, index, priors, recipe, bar)
            answers.append(pool.apply(logp_NVC, params).argmax(1))
    agreement = [[float((a == b).mean()) if len(index) else None for b in answers] for a in answers]
    unanimous = float(np.all([a == answers[0] for a in answers], axis=0).mean()) if len(index) else None
    return {"names": [f"fold{f}" for f in folds], "agreement": agreement, "unanimous": unanimous, "n": len(index)}
