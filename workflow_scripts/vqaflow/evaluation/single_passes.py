"""Answers from less than the whole ensemble (one view, one adapter, one choice order), and how much these differ.

Names in metrics.json are those of views (`original`), adapters (`fold0/original`) and orders (`abcd`). Where a run has
several members, each name begins with its member (`main/original`).

Shapes: N rows of the training table, S sources (views of all members), K choice orders, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.choices import OWN
from vqaflow.artifacts.columns import letters_in
from vqaflow.artifacts.parts import fold_of, part_order, seed_of
from vqaflow.artifacts.score_files import ScoreFile, read_logits, row_index, views_of
from vqaflow.ensemble.pool_member import mean_of_views
from vqaflow.ensemble.sources import Member, Oof, ViewsOfTest
from vqaflow.evaluation.evidence import Namer
from vqaflow.evaluation.systems import Systems
from vqaflow.model.encoding.orders import own_order, places_of
from vqaflow.reporting.statistics import accuracy_summary, recall_by_letter, recall_spread
from vqaflow.runtime.progress import ProgressBar
from vqaflow.scoring.order_pooling import pool_orders, position_prior

ABSENT = -1  # instead of a predicted letter (from 0), where a view does not have the row
ByName = Mapping[str, np.ndarray]  # predicted letters (N) by name


@dataclass(frozen=True)
class Passes:
    """What single passes predict for the OOF rows.

    `by_adapter` are an adapter's answers in one view, pooled over its orders. `by_order` has, for each view, the
    answers in each order, of the adapters of all folds; several seeds have each their own.
    """

    by_adapter: dict[str, np.ndarray] = field(default_factory=dict)
    by_order: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def predictions_by_view(oof: Oof, named: Namer) -> dict[str, np.ndarray]:
    """What each source that has a row predicts, pooled over orders and seeds."""
    found = {}
    for place, source in enumerate(oof.sources):
        there_N = ~np.isnan(oof.logp_NSC[:, place, 0])
        if there_N.any():
            best_N = np.nan_to_num(oof.logp_NSC[:, place], nan=-np.inf).argmax(1)
            found[named(source.member, source.view)] = np.where(there_N, best_N, ABSENT)
    return found


def read_passes(rows: pd.DataFrame, files: Sequence[ScoreFile], pooling: Mapping[str, str], named: Namer) -> Passes:
    """Read the OOF `files` for `rows` (id, fold); `pooling` says how each member pools over orders."""
    passes, views = Passes(), views_of(files)
    with ProgressBar(len(files), "read scores", unit="file") as bar:
        for file in sorted(files, key=lambda file: (file.member, views.index(file.view), part_order(file.part))):
            fold, seed = fold_of(file.part), seed_of(file.part)
            mine = np.arange(len(rows)) if fold is None else np.flatnonzero(rows["fold"] == fold)
            logits = read_logits(file, row_index(rows["id"].iloc[mine].tolist()))
            bar.advance()
            if not logits.present_N.any():
                continue
            there, how = mine[logits.present_N], pooling[file.member]
            pooled_NC = pool_orders(logits, how, position_prior(logits) if how == "prior" else None)
            adapter = file.part if fold is None else f"fold{file.part}"
            predicted_N = np.full(len(rows), ABSENT, np.int8)
            predicted_N[there] = pooled_NC[logits.present_N].argmax(1)
            passes.by_adapter[named(file.member, f"{adapter}/{file.view}")] = predicted_N
            view = named(file.member, file.view if seed is None else f"seed{seed}/{file.view}")
            by_order = passes.by_order.setdefault(view, {})
            for place, order in enumerate(logits.orders):
                alone_N = by_order.setdefault(order, np.full(len(rows), ABSENT, np.int8))
                alone_N[there] = logits.logits_NKC[logits.present_N, place].argmax(1)
    return passes


def single_pass_metrics(rows: pd.DataFrame, by_view: ByName, passes: Passes) -> dict[str, Any]:
    """The accuracy of each view, adapter's view, order and position, and of the ensemble on the same rows."""
    answers_N, own_N = rows["answer_index"].to_numpy(), rows[OWN].to_numpy()
    orders, letters = passes.by_order, letters_in(rows)
    return {
        "by_view": {name: against_ensemble(rows, predicted_N) for name, predicted_N in by_view.items()},
        "single": {name: against_ensemble(rows, predicted_N) for name, predicted_N in passes.by_adapter.items()},
        "by_order": {
            name: {order: accuracy_summary(hits(answers_N, predicted_N)) for order, predicted_N in by_order.items()}
            for name, by_order in orders.items()
        },
        "order_consistency": {name: share_summary(consistent(by_order)) for name, by_order in orders.items()},
        "position_bias": {
            "ensemble": bias(recall_by_letter(rows["predicted"].to_numpy(), answers_N, len(letters))),
            "views": {
                name: bias(recall_by_position(by_order, answers_N, own_N, letters)) for name, by_order in orders.items()
            },
        },
    }


def against_ensemble(rows: pd.DataFrame, predicted_N: np.ndarray) -> dict[str, Any]:
    """The accuracy of what is predicted for some rows, and the ensemble's gain over it on the same rows."""
    there_N = predicted_N != ABSENT
    right = {"it": hits(rows["answer_index"].to_numpy(), predicted_N), "ensemble": rows["right"].to_numpy()[there_N]}
    systems = Systems(right, rows["group"].to_numpy()[there_N])
    return systems.accuracy("it") | {"ensemble_against_it": systems.gain("it", "ensemble")}


def hits(answers_N: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
    """For each row that has a prediction, whether it is right."""
    return (predicted_N == answers_N)[predicted_N != ABSENT]


def consistent(by_order: ByName) -> np.ndarray:
    """For each row that has a prediction, whether all orders lead to the same letter."""
    every = np.stack(list(by_order.values()))
    every = every[:, (every != ABSENT).any(0)]
    known = np.where(every == ABSENT, every.max(0), every)  # folds may be scored in different orders
    return (known == known[0]).all(0)


def recall_by_position(
    by_order: ByName, answers_N: np.ndarray, own_N: np.ndarray, letters: Sequence[str]
) -> list[float | None]:
    """Share of right answers by the position (from 0) at which the right choice is shown, over all orders.

    `own_N` are the letters of each row's choices: a row is shown without those that it lacks.
    """
    predicted, right = [], []
    for order, predicted_N in by_order.items():
        for own in np.unique(own_N):
            mine_N = (predicted_N != ABSENT) & (own_N == own)
            place = np.array(places_of(own_order(order, own), letters))
            predicted.append(place[predicted_N[mine_N]])
            right.append(place[answers_N[mine_N]])
    return recall_by_letter(np.concatenate(predicted), np.concatenate(right), len(letters))


def bias(recall: list[float | None]) -> dict[str, Any]:
    """Recalls and their spread."""
    return {"recall": recall, "rstd": recall_spread(recall)}


def share_summary(hits_N: np.ndarray) -> dict[str, Any]:
    """A share other than an accuracy, with n and its Wilson interval."""
    summary = accuracy_summary(hits_N)
    return {"share": summary["accuracy"], "n": summary["n"], "wilson": summary["wilson"]}


def error_correlation(rows: pd.DataFrame, by_view: ByName) -> dict[str, Any]:
    """Pearson correlation of two views' errors on their common OOF rows; None if one makes no or only errors."""
    answers_N = rows["answer_index"].to_numpy()
    there = {name: predicted_N != ABSENT for name, predicted_N in by_view.items()}
    wrong = {name: (predicted_N != answers_N).astype(float) for name, predicted_N in by_view.items()}
    matrix = [[correlation(wrong[a], wrong[b], there[a] & there[b]) for b in by_view] for a in by_view]
    return {"names": list(by_view), "correlation": matrix}


def correlation(first_N: np.ndarray, second_N: np.ndarray, rows_N: np.ndarray) -> float | None:
    """Pearson correlation on some rows; None if one of the two is the same everywhere."""
    pair = [first_N[rows_N], second_N[rows_N]]
    varied = all(len(values) and 0 < values.mean() < 1 for values in pair)
    return float(np.corrcoef(*pair)[0, 1]) if varied else None


def fold_agreement(member: Member, rows: pl.DataFrame) -> dict[str, Any]:
    """Share of test `rows` (id, own letters) that a member answers alike with two folds' adapters.

    Views are averaged. Each OOF row is answered by one fold only. Seeds are pooled before.
    """
    views = ViewsOfTest([member], rows)
    answers = [mean_of_views(views.read({member.name: fold})).argmax(1) for fold in member.folds]
    agreement = [[float((a == b).mean()) if len(rows) else None for b in answers] for a in answers]
    unanimous = float(np.all([a == answers[0] for a in answers], axis=0).mean()) if len(rows) else None
    names = [f"fold{fold}" for fold in member.folds]
    return {"names": names, "agreement": agreement, "unanimous": unanimous, "n": len(rows)}
