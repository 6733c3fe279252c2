"""Checks of the adapters and of the searches."""

import csv
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from vqaflow.artifacts.adapter_files import RUN, check_files, require_part
from vqaflow.artifacts.parts import fold_of, seed_of
from vqaflow.artifacts.reading import check_picture, damaged, read_json, read_yaml, require_file
from vqaflow.artifacts.rows import contents
from vqaflow.config.sections import AnswersConfig
from vqaflow.evaluation.verify.results import Note, Results
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError

LOG_COLUMNS = {"step", "epoch", "loss", "accuracy", "learning_rate"}
# Keys of run.json, and those of the configuration whose `auto` may mean something else on another card.
PRECISION = {"quantization": "model.quantization", "dtype": "model.compute_dtype"}


def check_adapters(results: Results) -> str:
    """Each tuned member has whole adapters, each trained on other rows than it answers, under equal conditions."""
    count, members = 0, [note for note in results.notes if note.adapters]
    for note in members:
        runs = {results.at.adapter(note.name, part): check_adapter(results, note.name, part) for part in note.adapters}
        require_equal_conditions(runs)
        require_data(results, note, runs)
        count += len(runs)
    of = f" of {len(members)} members" if len(members) > 1 else ""
    return f"{count} adapters{of}, none trained on the rows that it answers" if count else "no member trains"


def check_adapter(results: Results, member: str, part: str) -> dict[str, Any]:
    """The run.json of an adapter that is whole, and was trained without the rows of its fold."""
    from vqaflow.model.decoder.merged_adapters import read_adapter  # torch takes seconds

    folder = results.at.adapter(member, part)
    read_adapter(folder)
    check_picture(folder / "curve.png", "train_adapter")
    check_log(folder / "log.csv")
    read_json(folder / RUN, "train_adapter", ["parity", "held_out", "rows", "train", "data", "validation_rows"])
    run = check_files(folder)
    held_out = sorted(results.folds["id"][results.folds["fold"] == fold_of(part)])
    require_part(folder, run, part, held_out)
    if run["validation_rows"] != len(held_out):
        raise UserError(
            f"{folder / RUN}: the adapter was measured on {run['validation_rows']} rows, but fold {part} has "
            f"{len(held_out)}. Delete {folder} and train again (rule train_adapter)."
        )
    outside = run["rows"] + run.get("rows_left_out", 0)
    if outside != len(results.folds) - len(held_out):
        raise UserError(
            f"{folder / RUN}: the adapter was trained on {run['rows']} rows, not on those outside fold {part}. "
            f"Delete {folder} and train again (rule train_adapter)."
        )
    return run


def require_data(results: Results, note: Note, runs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise UserError unless each adapter was trained on the rows, labels and teacher's answers that are there now.

    `runs` are run.json by the adapters' folders. Only train.parquet and the teacher's OOF probabilities say them.
    """
    from vqaflow.training.rows import FoldRows

    table, teacher = results.at.table("train"), results.at.teacher(note.said.get("teacher"))
    digests: dict[tuple[int | None, AnswersConfig], str] = {}
    for folder, run in runs.items():
        used = {entry.name: run[entry.name] for entry in fields(AnswersConfig) if entry.name in run}
        fold, answers = fold_of(folder.name.removeprefix("fold")), AnswersConfig(**used)
        if (fold, answers) not in digests:
            _, targets = FoldRows(table, results.at.folds, fold, answers, teacher).split()
            digests[fold, answers] = value_digest(contents(targets.rows))
        if run["data"] != digests[fold, answers]:
            what, of = "rows or labels", ""
            if teacher is not None:
                what, of = "rows, labels or teacher's answers", f", {teacher}"
            raise UserError(
                f"{folder / RUN}: the adapter was trained on other {what} than are there now ({table}{of}). Delete "
                f"{folder} and train again (rule train_adapter)."
            )


def require_equal_conditions(runs: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise UserError unless all run.json of a member (by their folders) have the same settings and precision.

    Adapters of two members that were exchanged differ in them.
    """
    first, wanted = next(iter(runs.items()))
    for folder, run in runs.items():
        for part in ("parity", "model", "prompt", "train"):
            mine, others = run.get(part, {}), wanted.get(part, {})
            # The folder of a base may have moved since the adapter was stored: parity has the digest of the base.
            # Another number of devices is another rounding, as another card is.
            free = {"devices", *(["base"] if part == "model" else [])}
            free |= set() if seed_of(folder.name) is None else {"seed"}  # require_part compares it with the name
            keys = (mine.keys() | others.keys()) - free
            if differing := {key for key in keys if mine.get(key) != others.get(key)}:
                raise UserError(
                    f"{folder / RUN}: {part}.{min(differing)} differs from that of {first}. "
                    "Train all folds with one configuration."
                )
        for key, setting in PRECISION.items():
            if run.get(key) != wanted.get(key):
                raise UserError(
                    f"{folder / RUN}: trained with {key} {run.get(key)}, but {first} with {wanted.get(key)}: "
                    f"auto depends on the card. Set {setting} to one value and train all folds again."
                )


def check_log(path: Path) -> None:
    """Raise UserError unless `path` is a training log with at least one line."""
    require_file(path, "train_adapter")
    header, *lines = csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines())
    if not LOG_COLUMNS <= set(header) or not lines or any(len(line) != len(header) for line in lines):
        raise damaged(path, "train_adapter", ValueError(f"not a whole table with {', '.join(sorted(LOG_COLUMNS))}"))


def check_search(results: Results) -> str:
    """For each search: the best parameters and the study can be read, and the figures open."""
    found = [check_study(folder) for folder in results.at.searches()]
    return "; ".join(found) or "no search was run"


def check_study(folder: Path) -> str:
    """What a search found."""
    rule, best, study = "search_hyperparameters", folder / "best.yaml", folder / "study.db"
    parameters = read_yaml(best, rule, ["parameters"])["parameters"]
    require_file(study, rule)
    try:
        with closing(sqlite3.connect(f"{study.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (trials,) = database.execute("SELECT COUNT(*) FROM trials").fetchone()
    except sqlite3.Error as error:
        raise damaged(study, rule, error) from None
    for figure in sorted(folder.glob("**/*.png")):
        check_picture(figure, rule)
    settings = ", ".join(f"{key} {value}" for key, value in parameters.items())
    return f"{folder.name}: {trials} trials; best: {settings}"
