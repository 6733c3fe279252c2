"""Compare two results folders on the rows that both have: is one better, where, and which answers changed?

`vqaflow compare RUN_A RUN_B` prints accuracies, the paired gain of B over A (exact McNemar test, bootstrap over
groups), in all and by question type, and the rows that flipped; `--out FILE` writes all of those rows as CSV.

Shapes: N rows, C choices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, probabilities_in, probability_columns
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.run_settings import differing, settings_of
from vqaflow.reporting.statistics import accuracy_summary, paired_summary
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

SEED = 0  # of the bootstrap
CONTENT = ["question", *ALL_LETTERS, "answer", "sha256"]  # two rows are the same question if these are equal
FLIPS = ["change", "id", "qtype", "answer", "answer_a", "answer_b", "p_right_a", "p_right_b", "question"]


@dataclass(frozen=True)
class Comparison:
    """`rows` are the shared ones, with both runs' answers; summaries are those of `paired`, B against A."""

    rows: pd.DataFrame
    notes: list[str]
    overall: dict[str, Any]
    by_type: dict[str, dict[str, Any]]

    @property
    def flips(self) -> pd.DataFrame:
        """Rows that the runs answer differently: gained, lost, then those that are wrong in both."""
        changed = self.rows[self.rows["answer_a"] != self.rows["answer_b"]]
        change = np.select([changed["right_b"], changed["right_a"]], ["gained", "lost"], "both wrong")
        order = {"gained": 0, "lost": 1, "both wrong": 2}
        changed = changed.assign(change=change).sort_values("id")
        return changed.sort_values("change", key=lambda kinds: kinds.map(order), kind="stable")[FLIPS]


def compare(first: Path, second: Path) -> Comparison:
    """Compare the OOF answers of the results folders `first` (A) and `second` (B).

    Rows that only one has are left out, and a note says so. Raises UserError if the folders share no row, or if a
    shared id is not the same question in both.
    """
    a, b = read_run(first), read_run(second)
    shared = a.index.intersection(b.index, sort=False)
    if shared.empty:
        raise UserError(f"{first} and {second}: they have no training row in common. Compare runs on the same data.")
    rows_a, rows_b = a.loc[shared], b.loc[shared]
    if unlike := [
        i for i, same in zip(shared, (content(rows_a) == content(rows_b)).all(axis=1), strict=True) if not same
    ]:
        raise UserError(
            f"{first} and {second}: rows {some(unlike)} have another question, image or answer in each. "
            "Compare runs on the same data."
        )
    rows = rows_a[["qtype", "group", "question", "answer"]].copy()
    for name, run in (("a", rows_a), ("b", rows_b)):
        p_NC = run[probabilities_in(run)].to_numpy()
        rows[f"answer_{name}"] = np.array(ALL_LETTERS)[p_NC.argmax(1)]
        rows[f"p_right_{name}"] = p_NC[np.arange(len(run)), run["answer"].map(ALL_LETTERS.index)]
        rows[f"right_{name}"] = rows[f"answer_{name}"] == rows["answer"]
    rows = rows.reset_index(names="id")
    by_type = {str(qtype): paired(part) for qtype, part in rows.groupby("qtype")}
    return Comparison(rows, [*row_notes(a, b), *setting_notes(first, second)], paired(rows), by_type)


def content(rows: pd.DataFrame) -> pd.DataFrame:
    """What makes rows the same question in two runs; "" for choices that they lack."""
    return rows.reindex(columns=CONTENT).astype(object).fillna("")


def read_run(folder: Path) -> pd.DataFrame:
    """A run's training rows by id, with fold, group and OOF probabilities."""
    at = ResultsFolder(folder)
    letters = letters_of_table(at.table("train"), "validate_tables")
    columns = ["id", "qtype", "question", *letters, "answer", "sha256"]
    table = read_table(at.table("train"), "validate_tables", columns)
    folds = read_table(at.folds, "make_folds", ["id", "fold", "group"])
    oof = read_table(at.probabilities("oof"), "ensemble_probabilities", ["id", *probability_columns(letters)])
    rows = table.merge(folds, on="id", validate="1:1").merge(oof, on="id", validate="1:1").set_index("id")
    if len(rows) != len(table):
        raise UserError(f"{folder}: its table, folds and OOF rows differ. Run `vqaflow verify {folder}`.")
    return rows


def row_notes(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    """Notes on rows that only one run has, and on rows in different folds."""
    for name, other, mine in (("A", "B", a.index.difference(b.index)), ("B", "A", b.index.difference(a.index))):
        if len(mine):
            yield f"{len(mine)} rows of {name} are not in {other} and are left out: {some(list(mine))}."
    shared = a.index.intersection(b.index)
    if moved := int((a.loc[shared, "fold"] != b.loc[shared, "fold"]).sum()):
        yield f"{moved} shared rows are in different folds: their adapters were also trained on different rows."


def setting_notes(first: Path, second: Path) -> Iterator[str]:
    """Notes on settings that differ, where both folders record them."""
    for key, (old, new) in differing([settings_of(folder) for folder in (first, second)]).items():
        yield f"{key}: {old!r} in A, {new!r} in B."


def paired(rows: pd.DataFrame) -> dict[str, Any]:
    """Both accuracies on `rows` and the paired tests of B against A."""
    right_a, right_b = rows["right_a"].to_numpy(), rows["right_b"].to_numpy()
    tests = paired_summary(right_a, right_b, rows["group"].to_numpy(), SEED)
    return tests | {"a": accuracy_summary(right_a), "b": accuracy_summary(right_b)}
