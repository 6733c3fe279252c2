"""Checks of the adapters, the scores and the search.

Shapes: N rows of the table.
"""

import csv
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.reading import check_picture, damaged, read_json, require_file
from vqaflow.artifacts.score_files import check_complete, read_logits, row_index, views_of
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError

LOG_COLUMNS = {"step", "epoch", "loss", "accuracy", "learning_rate"}
# Keys of run.json, and those of the configuration whose `auto` may mean something else on another card.
PRECISION = {"quantization": "model.quantization", "dtype": "model.compute_dtype"}


def check_adapters(results: Results) -> str:
    """Each fold has a whole adapter, trained on the other folds' rows, all with one base, prompt and precision."""
    from vqaflow.model.decoder.merged_adapters import read_adapter  # torch takes seconds

    runs = {}
    for fold in sorted(results.folds["fold"].unique()):
        folder = results.at.adapter(fold)
        again = f"Delete {folder} and train again (rule train_adapter)."
        read_adapter(folder)
        check_picture(folder / "curve.png", "train_adapter")
        check_log(folder / "log.csv")
        run = read_json(folder / "run.json", "train_adapter", ["parity", "held_out", "rows"])
        held_out = sorted(results.folds["id"][results.folds["fold"] == fold])
        if run["held_out"] != value_digest(held_out) or run["rows"] != len(results.folds) - len(held_out):
            raise UserError(
                f"{folder / 'run.json'}: the adapter was trained with other folds and may have seen its fold. {again}"
            )
        runs[folder] = run
    require_equal_conditions(runs)
    return f"{len(runs)} adapters, each trained without its own fold"


def require_equal_conditions(runs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise UserError unless the run.json of all folds (by their folders) have the same parity and precision."""
    first, wanted = next(iter(runs.items()))
    for folder, run in runs.items():
        mine, others = run["parity"], wanted["parity"]
        if differing := sorted(k for k in mine.keys() | others.keys() if mine.get(k) != others.get(k)):
            raise UserError(
                f"{folder / 'run.json'}: parity.{differing[0]} differs from that of {first}. "
                "Train all folds with one configuration."
            )
        for key, setting in PRECISION.items():
            if run.get(key) != wanted.get(key):
                raise UserError(
                    f"{folder / 'run.json'}: trained with {key} {run.get(key)}, but {first} with {wanted.get(key)}: "
                    f"auto depends on the card. Set {setting} to one value and train all folds again."
                )


def check_log(path: Path) -> None:
    """Raise UserError unless `path` is a training log with at least one line."""
    require_file(path, "train_adapter")
    header, *lines = csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines())
    if not LOG_COLUMNS <= set(header) or not lines or any(len(line) != len(header) for line in lines):
        raise damaged(path, "train_adapter", ValueError(f"not a whole table with {', '.join(sorted(LOG_COLUMNS))}"))


def check_search(results: Results) -> str:
    """If there was a search: the best parameters and the study can be read, and the figures open."""
    folder, rule = results.at.search, "search_hyperparameters"
    if not folder.is_dir():
        return "no search was run"
    best, study = folder / "best.yaml", folder / "study.db"
    require_file(best, rule)
    require_file(study, rule)
    try:
        parameters = yaml.safe_load(best.read_text(encoding="utf-8"))["parameters"]
    except (ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise damaged(best, rule, error) from None
    try:
        with closing(sqlite3.connect(f"{study.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (trials,) = database.execute("SELECT COUNT(*) FROM trials").fetchone()
    except sqlite3.Error as error:
        raise damaged(study, rule, error) from None
    for figure in sorted(folder.glob("**/*.png")):
        check_picture(figure, rule)
    return f"{trials} trials; best: {', '.join(f'{key} {value}' for key, value in parameters.items())}"


def check_scores(results: Results) -> str:
    """Each fold's OOF rows and all usable test rows, and no others, have scores, which are finite."""
    files, folds = results.scores, results.folds
    if missing := sorted(set(folds["fold"]) ^ {file.fold for file in files}):
        raise UserError(
            f"{results.at.folder / 'scores'}: fold {missing[0]} is only in folds.parquet or only in the scores. "
            "Run score_choices again."
        )
    usable = results.test["id"][results.test["usable"]].tolist()
    count = 0
    for split in ("oof", "test"):
        for fold in sorted({file.fold for file in files}):
            here = [file for file in files if (file.split, file.fold) == (split, fold)]
            index = row_index(folds["id"][folds["fold"] == fold].tolist() if split == "oof" else usable)
            loaded = [read_logits(file, index) for file in here]
            check_complete(here, [logits.present_N for logits in loaded], index)
            count += sum(int(logits.present_N.sum()) * len(logits.orders) for logits in loaded)
    views = ", ".join(views_of(files))
    return f"{len(files)} files ({views}), {count:,} scored orders, each OOF row by the adapter that did not see it"
