"""Rule evaluate_oof: how good the answers are, how sure that is, and where they fail.

All numbers except those of single passes come from the OOF ensemble, whose rows were predicted by models that had not
seen them. `vqaflow evaluate_oof` runs it by hand.

Shapes: N rows, C = 4 choices.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import LETTERS, PROBABILITIES
from vqaflow.artifacts.reading import read_json, read_table
from vqaflow.artifacts.score_files import score_files
from vqaflow.evaluation.figures import draw_all
from vqaflow.evaluation.metrics import checkpoint_choice, ensemble_metrics, leaderboard, learning_summary
from vqaflow.evaluation.mistakes import write_mistakes
from vqaflow.evaluation.single_passes import error_correlation, fold_agreement, read_views, single_pass_metrics
from vqaflow.reporting.statistics import widest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder, write_json
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import log

# The user's other columns are not read: one called p_a or right would clash with what is added here.
EVALUATED_COLUMNS = ["id", "image_file", "question", *LETTERS, "answer", "sha256", "qtype"]


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
    """Write metrics.json, one PNG per figure and the pages of mistakes into `out_dir`, which is replaced as a whole."""
    rows = read_oof_rows(oof, train_table, folds)
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
    low, high = (100 * bound for bound in widest(overall))
    log.info("OOF accuracy %.2f %% [%.2f, %.2f], n = %d", 100 * overall["accuracy"], low, high, overall["n"])
    if metrics["checkpoint_choice"]["best_minus_last"]:
        log.info("%s", metrics["checkpoint_choice"]["text"])
    log.info("%s", metrics["leaderboard"]["text"])


def read_oof_rows(oof: Path, train_table: Path, folds: Path) -> pd.DataFrame:
    """The `EVALUATED_COLUMNS` with p_a to p_d, fold, group, answer_index, predicted, right, confidence and margin."""
    table = read_table(train_table, "validate_tables", EVALUATED_COLUMNS)
    probabilities = read_table(oof, "ensemble_probabilities", ["id", *PROBABILITIES])
    assigned = read_table(folds, "make_folds", ["id", "fold", "group"])
    if alone := sorted(set(table["id"]) ^ set(probabilities["id"])):
        raise UserError(
            f"{oof}: rows {some(alone)} are only in this file or only in {train_table}. Run the rules again."
        )
    rows = table.merge(probabilities, on="id", how="left").merge(assigned, on="id", how="left")
    p_NC = rows[PROBABILITIES].to_numpy()
    ordered_NC = np.sort(p_NC, axis=1)
    rows["answer_index"] = rows["answer"].map(LETTERS.index)
    rows["predicted"] = p_NC.argmax(1)
    rows["right"] = rows["predicted"] == rows["answer_index"]
    rows["confidence"] = ordered_NC[:, -1]
    rows["margin"] = ordered_NC[:, -1] - ordered_NC[:, -2]
    return rows


def read_logs(adapters: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """The training logs (log.csv) of the adapters, by folder name."""
    columns = ["step", "epoch", "loss", "accuracy", "learning_rate", "val_accuracy"]
    paths = {folder.name: folder / "log.csv" for folder in sorted(adapters)}
    return {name: pd.read_csv(path).reindex(columns=columns) for name, path in paths.items() if path.exists()}
