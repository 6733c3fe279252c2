"""The numbers of metrics.json that come from the OOF ensemble."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.evaluation.single_passes import SEED
from vqaflow.reporting.statistics import accuracy_summary, leaderboard_half_width, widest

MARGIN_BINS = 10
COVERAGE_POINTS = 100


def ensemble_metrics(rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracy of the OOF ensemble, overall and in parts."""
    right, groups = rows["right"].to_numpy(), rows["group"].to_numpy()
    answers, predicted = rows["answer_index"].to_numpy(), rows["predicted"].to_numpy()
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (answers, predicted), 1)
    return {
        "overall": accuracy_summary(right, groups, SEED),
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
    return [
        {"low": b / MARGIN_BINS, "high": (b + 1) / MARGIN_BINS} | accuracy_summary(rows["right"][bins == b].to_numpy())
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


def checkpoint_choice(logs: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """How much OOF accuracy may gain by choosing each adapter's epoch on OOF rows, as `train.keep: best` does."""
    curves = [history["val_accuracy"].dropna() for history in logs.values()]
    gaps = [float(curve.max() - curve.iloc[-1]) for curve in curves if len(curve)]
    gain = float(np.mean(gaps)) if gaps else 0.0
    text = f"train.keep: best chooses each adapter's epoch by OOF rows: at most {100 * gain:.2f} points come from that"
    return {"best_minus_last": gain, "text": text}


def leaderboard(rows: pd.DataFrame, test: Path) -> dict[str, Any]:
    """Where chance alone would put a system with the OOF accuracy on a leaderboard of the test table's size.

    `half_width` takes the OOF accuracy p as the true one; `half_width_with_oof` adds the interval of p itself.
    """
    n, p = len(pl.read_parquet(test, columns=["id"])), float(rows["right"].mean())
    half = leaderboard_half_width(p, n)
    low, high = widest(accuracy_summary(rows["right"].to_numpy(), rows["group"].to_numpy(), SEED))
    both = float(np.hypot(half, (high - low) / 2))
    return {
        "accuracy": p,
        "test_rows": n,
        "half_width": half,
        "interval": [max(0.0, p - half), min(1.0, p + half)],
        "half_width_with_oof": both,
        "interval_with_oof": [max(0.0, p - both), min(1.0, p + both)],
        "formula": "p ± h, h = 1.96 · sqrt(p (1 - p) / n); with OOF: sqrt(h² + h_oof²), h_oof half the OOF interval",
        "text": f"a leaderboard of {n:,} rows scatters by ±{100 * half:.2f} points around a true {100 * p:.2f} %: "
        "smaller differences are noise",
    }
