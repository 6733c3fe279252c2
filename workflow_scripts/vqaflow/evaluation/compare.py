"""Compare two results folders on the rows that both have: is one better, where, and which answers changed?

`vqaflow compare RUN_A RUN_B` prints accuracies, the paired gain of B over A (sign-flip test and bootstrap of whole
groups), in all and by question type, and the rows that flipped; `--out FILE` writes all of those rows as CSV. Rows are
in one group if either run keeps them together.

Shapes: N rows, C choices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, probabilities_in, probability_columns
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.run_settings import differing, settings_of
from vqaflow.reporting.sign_flips import joined_groups, sign_flip_p_values
from vqaflow.reporting.statistics import accuracy_summary, paired_summary
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

SEED = 0  # of the bootstrap and the signs
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
    def groups(self) -> int:
        """How many groups the rows form."""
        return self.rows["group"].nunique()

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
    rows_a, rows_b = shared_rows([(first, a), (second, b)])
    rows = rows_a[["qtype", "question", "answer"]].copy()
    for name, run in (("a", rows_a), ("b", rows_b)):
        p_NC = run[probabilities_in(run)].to_numpy()
        rows[f"answer_{name}"] = np.array(ALL_LETTERS)[p_NC.argmax(1)]
        rows[f"p_right_{name}"] = p_NC[np.arange(len(run)), run["answer"].map(ALL_LETTERS.index)]
        rows[f"right_{name}"] = rows[f"answer_{name}"] == rows["answer"]
        rows[f"group_{name}"] = run["group"]
    rows["group"] = joined_groups(rows["group_a"].to_numpy(), rows["group_b"].to_numpy())
    rows = rows.reset_index(names="id")
    by_type = {str(qtype): paired(part) for qtype, part in rows.groupby("qtype")}
    for summary, p_value in zip(by_type.values(), p_values_by_type(rows), strict=True):
        summary["p_value"] = p_value
    return Comparison(rows, [*row_notes(a, b), *setting_notes(first, second)], paired(rows), by_type)


def p_values_by_type(rows: pd.DataFrame) -> list[float]:
    """The p-value of each type's gain, in their order, corrected for the number of types."""
    gain_N = rows["right_b"].to_numpy().astype(np.float64) - rows["right_a"]
    types = [np.where(rows["qtype"] == qtype, gain_N, 0.0) for qtype in sorted(set(rows["qtype"]))]
    return sign_flip_p_values(types, rows["group"].to_numpy(), SEED)


def shared_rows(runs: Sequence[tuple[Path, pd.DataFrame]]) -> list[pd.DataFrame]:
    """The rows that all runs have, in one order. Raises UserError if there is none, or if a row is not the same."""
    (first, rows), *others = runs
    shared = rows.index
    for _, other in others:
        shared = shared.intersection(other.index, sort=False)
    for folder, other in others:
        if shared.empty:
            raise UserError(
                f"{first} and {folder}: they have no training row in common. Compare runs on the same data."
            )
        same_N = (content(rows.loc[shared]) == content(other.loc[shared])).all(axis=1)
        if not same_N.all():
            raise UserError(
                f"{first} and {folder}: rows {some(list(shared[~same_N]))} have another question, image or answer in "
                "each. Compare runs on the same data."
            )
    return [run.loc[shared] for _, run in runs]


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
    """Both accuracies on `rows`, as each run's own report gives them, and the paired tests of B against A."""
    right = {name: rows[f"right_{name}"].to_numpy() for name in "ab"}
    tests = paired_summary(right["a"], right["b"], rows["group"].to_numpy(), SEED)
    return tests | {name: accuracy_summary(right[name], rows[f"group_{name}"].to_numpy(), SEED) for name in "ab"}
