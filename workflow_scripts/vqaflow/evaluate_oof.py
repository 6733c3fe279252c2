"""Rule evaluate_oof: how good the answers are, how sure that is, and where they fail.

All numbers but those of single passes come from the OOF ensemble, whose rows were predicted by what had not seen them.
`python -m vqaflow.evaluate_oof --help` runs it by hand.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts import read_json, read_table
from vqaflow.config import LETTERS
from vqaflow.ensemble_probabilities import PROBABILITIES
from vqaflow.errors import UserError
from vqaflow.evaluation_figures import draw_all
from vqaflow.files import atomic_folder, write_json
from vqaflow.mistakes import write_mistakes
from vqaflow.passes import SEED, error_correlation, fold_agreement, read_views, single_pass_metrics
from vqaflow.progress import log, stage
from vqaflow.score_files import score_files, some
from vqaflow.statistics import accuracy_summary, leaderboard_half_width, widest

MARGIN_BINS = 10
COVERAGE_POINTS = 100
# Not the user's own columns: one called p_a or right would be mistaken for what is added here.
COLUMNS = ["id", "image_file", "question", *LETTERS, "answer", "sha256", "qtype"]


def evaluate_oof(
    *,
    oof: Path,
    test: Path,
    scores: Sequence[Path],
    train_table: Path,
    test_table: Path,
    folds: Path,
    recipe: Path,
    adapters: Sequence[Path],
    out_dir: Path,
) -> None:
    """Write metrics.json, one PNG a figure and the pages of mistakes into `out_dir`, which is replaced as a whole."""
    rows = read_rows(oof, train_table, folds)
    report = read_json(recipe, "ensemble_probabilities")
    files = score_files(scores)
    views = read_views(rows, [f for f in files if f.split == "oof"], report)
    logs = read_logs(adapters)
    metrics = (
        ensemble_metrics(rows)
        | single_pass_metrics(rows, views)
        | {
            "recipe": {key: report[key] for key in ("chosen", "default", "reason", "nested")},
            "calibration": report["calibration"],
            "error_correlation": {
                "views": error_correlation(rows, views),
                "folds": fold_agreement(test_table, files, report),
            },
            "learning": {fold: learning_summary(history) for fold, history in logs.items()},
            "checkpoint_choice": checkpoint_choice(logs),
            "leaderboard": leaderboard(rows, test),
        }
    )
    overall = metrics["overall"]
    with atomic_folder(out_dir) as folder:
        write_json(folder / "metrics.json", metrics)
        draw_all(metrics, logs, folder)
        write_mistakes(rows, folder)
    shown = (overall["accuracy"], *widest(overall))
    log.info("OOF accuracy %.2f %% [%.2f, %.2f], n = %d", *(100 * x for x in shown), overall["n"])
    if metrics["checkpoint_choice"]["best_minus_last"]:
        log.info("%s", metrics["checkpoint_choice"]["text"])
    log.info("%s", metrics["leaderboard"]["text"])


def read_rows(oof: Path, train_table: Path, folds: Path) -> pd.DataFrame:
    """The `COLUMNS` with p_a to p_d, fold, group, answer_index, predicted, right, confidence and margin."""
    table = read_table(train_table, "validate_tables", COLUMNS)
    probabilities = read_table(oof, "ensemble_probabilities", ["id", *PROBABILITIES])
    assigned = read_table(folds, "make_folds", ["id", "fold", "group"])
    if alone := sorted(set(table["id"]) ^ set(probabilities["id"])):
        raise UserError(f"{oof}: rows {some(alone)} are only in one of it and {train_table}. Run the rules again.")
    rows = table.merge(probabilities, on="id", how="left").merge(assigned, on="id", how="left")
    p_NC = rows[PROBABILITIES].to_numpy()
    ordered_NC = np.sort(p_NC, axis=1)
    rows["answer_index"] = rows["answer"].map(LETTERS.index)
    rows["predicted"] = p_NC.argmax(1)
    rows["right"] = rows["predicted"] == rows["answer_index"]
    rows["confidence"] = ordered_NC[:, -1]
    rows["margin"] = ordered_NC[:, -1] - ordered_NC[:, -2]
    return rows


def ensemble_metrics(rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracy of the OOF ensemble, whole and in parts."""
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
    """Accuracy on the surest share of rows, for `COVERAGE_POINTS` shares."""
    right = rows.sort_values(["confidence", "id"], ascending=[False, True])["right"].to_numpy()
    counts = np.unique(np.ceil(np.linspace(1 / COVERAGE_POINTS, 1, COVERAGE_POINTS) * len(right)).astype(int))
    accuracy = right.cumsum()[counts - 1] / counts
    return {"coverage": (counts / len(right)).tolist(), "accuracy": accuracy.tolist()}


def read_logs(adapters: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """The training logs (log.csv) of the adapters' folders, by the folder's name."""
    columns = ["step", "epoch", "loss", "accuracy", "learning_rate", "val_accuracy"]
    paths = {folder.name: folder / "log.csv" for folder in sorted(adapters)}
    return {name: pd.read_csv(path).reindex(columns=columns) for name, path in paths.items() if path.exists()}


def learning_summary(history: pd.DataFrame) -> dict[str, Any]:
    """The end of a training: steps, epochs, last loss, and the best validation accuracy with its step."""
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
    """How much of OOF accuracy may come from choosing each adapter's epoch by it, as `train.keep: best` does."""
    curves = [history["val_accuracy"].dropna() for history in logs.values()]
    gaps = [float(curve.max() - curve.iloc[-1]) for curve in curves if len(curve)]
    gain = float(np.mean(gaps)) if gaps else 0.0
    text = f"train.keep: best chooses each adapter's epoch by OOF rows: at most {100 * gain:.2f} points come from that"
    return {"best_minus_last": gain, "text": text}


def leaderboard(rows: pd.DataFrame, test: Path) -> dict[str, Any]:
    """Where a leaderboard of the test table's size would put a system with the OOF accuracy, by chance alone.

    `half_width` takes the OOF accuracy p as the true one; `half_width_with_oof` adds OOF's own interval.
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


def main() -> None:
    """Run the stage by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.evaluate_oof", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all artifacts")
    parser.add_argument("--out", type=Path, help="folder to write (default: evaluation in the results folder)")
    arguments = parser.parse_args()
    results = arguments.results
    with stage(None):
        evaluate_oof(
            oof=results / "ensemble" / "oof.parquet",
            test=results / "ensemble" / "test.parquet",
            scores=sorted(results.glob("scores/*/fold*/*.parquet")),
            train_table=results / "tables" / "train.parquet",
            test_table=results / "tables" / "test.parquet",
            folds=results / "folds.parquet",
            recipe=results / "ensemble" / "recipe.json",
            adapters=sorted(results.glob("adapters/fold*")),
            out_dir=arguments.out or results / "evaluation",
        )


if __name__ == "__main__":
    main()
