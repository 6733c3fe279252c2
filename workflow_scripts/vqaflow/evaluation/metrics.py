"""The numbers of metrics.json that come from the OOF ensemble."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import probabilities_in
from vqaflow.artifacts.rows import shares_in
from vqaflow.reporting.measures import measures
from vqaflow.reporting.statistics import accuracy_summary, leaderboard_half_width

SEED = 0  # of the bootstrap
MARGIN_BINS = 10
COVERAGE_POINTS = 100


def ensemble_metrics(rows: pd.DataFrame, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of the OOF ensemble, overall (and what of that is) and in parts."""
    right, groups = rows["right"].to_numpy(), rows["group"].to_numpy()
    answers, predicted = rows["answer_index"].to_numpy(), rows["predicted"].to_numpy()
    choices = len(probabilities_in(rows))
    confusion = np.zeros((choices, choices), int)
    np.add.at(confusion, (answers, predicted), 1)
    return {
        "overall": accuracy_summary(right, groups, SEED) | {"of": recipe["nested"]["of"]},
        "measures": measures(rows[probabilities_in(rows)].to_numpy(), answers, groups, shares_in(rows), SEED),
        "by_type": summary_by(rows, "qtype"),
        "by_fold": summary_by(rows, "fold"),
        "confusion": confusion.tolist(),
        "by_margin": by_margin(rows),
        "coverage": coverage(rows),
    }


def summary_by(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Accuracy for each value of `column`."""
    return {
        str(value): accuracy_summary(part["right"].to_numpy(), part["group"].to_numpy(), SEED)
        for value, part in rows.groupby(column)
    }


def by_margin(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Accuracy in equal bins of the margin."""
    bins = np.minimum((rows["margin"] * MARGIN_BINS).astype(int), MARGIN_BINS - 1)
    right, groups = rows["right"].to_numpy(), rows["group"].to_numpy()
    return [
        {"low": b / MARGIN_BINS, "high": (b + 1) / MARGIN_BINS}
        | accuracy_summary(right[bins == b], groups[bins == b], SEED)
        for b in range(MARGIN_BINS)
    ]


def coverage(rows: pd.DataFrame) -> dict[str, list[float]]:
    """Accuracy on the most confident share of rows, for `COVERAGE_POINTS` shares."""
    right = rows.sort_values(["confidence", "id"], ascending=[False, True])["right"].to_numpy()
    counts = np.unique(np.ceil(np.linspace(1 / COVERAGE_POINTS, 1, COVERAGE_POINTS) * len(right)).astype(int))
    accuracy = right.cumsum()[counts - 1] / counts
    return {"coverage": (counts / len(right)).tolist(), "accuracy": accuracy.tolist()}


def learning_summary(history: pd.DataFrame) -> dict[str, Any]:
    """How a training ended: steps, epochs, last loss, and the best validation accuracy with its step."""
    measured = history.dropna(subset="val_accuracy")
    best = measured.loc[measured["val_accuracy"].idxmax()] if len(measured) else None
    last = history.ffill().iloc[-1]
    return {
        "steps": int(last["step"]),
        "epochs": float(last["epoch"]),
        "last_loss": None if np.isnan(last["loss"]) else float(last["loss"]),
        "best_val_accuracy": None if best is None else float(best["val_accuracy"]),
        "best_step": None if best is None else int(best["step"]),
    }


def checkpoint_choice(logs: Mapping[str, pd.DataFrame], kept: Mapping[str, str]) -> dict[str, Any]:
    """What choosing the epoch on OOF rows may add to OOF accuracy; `kept` is the `train.keep` of each training.

    Only `keep: best` chooses. The mean gap between the best and the last epoch is about what it adds: the rows that
    choose are the rows that are counted.
    """
    chosen = [logs[name]["val_accuracy"].dropna() for name, keep in kept.items() if keep == "best" and name in logs]
    gaps = [float(curve.max() - curve.iloc[-1]) for curve in chosen if len(curve)]
    gain = float(np.mean(gaps)) if gaps else 0.0
    if gaps:
        text = f"train.keep: best chose epochs by OOF rows, which adds about {100 * gain:.2f} points to their accuracy"
    else:
        text = "no epoch was chosen by OOF rows"
    return {"best_minus_last": gain, "adapters": len(gaps), "text": text}


def expectation(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The accuracy to expect of the submission, which averages adapters where OOF rows have one: from recipe.json."""
    return {**recipe["expected"], "gain_of_averaging": recipe["test"]["gain_of_averaging"]}


def leaderboard(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Where chance would put the submission on a leaderboard of the test rows whose images are usable.

    `half_width` takes the expected accuracy p as the true one; `half_width_with_oof` adds how sure p itself is.
    """
    n, expected = usable_rows(recipe), recipe["expected"]
    p, (low, high) = expected["accuracy"], expected["score_interval"]
    half = leaderboard_half_width(p, n)
    return {
        "accuracy": p,
        "of": expected["of"],
        "test_rows": n,
        "half_width": half,
        "interval": [max(0.0, p - half), min(1.0, p + half)],
        "half_width_with_oof": (high - low) / 2,
        "interval_with_oof": [low, high],
        "formula": "p ± h, h = 1.96 · sqrt(p (1 - p) / n); with OOF: sqrt(h_oof² (1 + n_oof / n) + h_gain²), h_oof and "
        "h_gain half the intervals of OOF accuracy (whole groups) and of the gain of averaging",
        "text": leaderboard_text(recipe, half),
    }


def usable_rows(recipe: Mapping[str, Any]) -> int:
    """The test rows that are like the training rows: the others have no usable image, or other faults."""
    return recipe["test"]["rows"] - recipe["test"]["unusable"]


def leaderboard_text(recipe: Mapping[str, Any], half: float) -> str:
    """What to expect of a leaderboard, in words."""
    expected, n, unusable = recipe["expected"], usable_rows(recipe), recipe["test"]["unusable"]
    low, high = (100 * bound for bound in expected["score_interval"])
    text = f"expect {100 * expected['accuracy']:.2f} % on new rows"
    if gain := recipe["test"]["gain_of_averaging"]:
        text += f", {100 * gain['gain']:+z.2f} points from averaging adapters that OOF rows do not have"
    blind = f" without the {unusable:,} that have no usable image" if unusable else ""
    return (
        f"{text}; a leaderboard of {n:,} rows{blind} will show {low:.2f} to {high:.2f} % (95 %). "
        f"Chance alone is ±{100 * half:.2f} points: smaller differences are noise"
    )
