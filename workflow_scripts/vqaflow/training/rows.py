"""The rows of a training: those of all folds but one, or all rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqaflow.artifacts.columns import PROBABILITY, probability_columns
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.config.sections import AnswersConfig
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some
from vqaflow.training.targets import Targets, targets_of


@dataclass(frozen=True)
class FoldRows:
    """The training rows, split by one fold: `table` is the checked table, `folds` the file of folds.

    If `fold` is None, no row is held out. `answers` says which of the others train, and what they aim at. `teacher` is
    a member's file of OOF probabilities, which the rows that train then have as `taught`.
    """

    table: Path
    folds: Path
    fold: int | None
    answers: AnswersConfig = field(default_factory=AnswersConfig)
    teacher: Path | None = None

    def split(self) -> tuple[list[Row], Targets]:
        """The rows of the fold (held out), and the rows of the other folds that train.

        Raises UserError if a file is missing or damaged, if there is no such fold, or if no row trains.
        """
        assigned = read_table(self.folds, "make_folds", ["id", "fold"])
        rows = read_table(self.table, "validate_tables").merge(assigned, on="id", validate="1:1")
        if self.fold is not None and self.fold not in set(rows["fold"]):
            raise UserError(f"{self.folds}: there is no fold {self.fold}. Use a fold from 0 to {rows['fold'].max()}.")
        held_out = rows["fold"] == self.fold
        targets = targets_of(rows_of(rows[~held_out]), self.answers)
        if self.teacher is not None:
            targets = replace(targets, rows=taught(targets.rows, self.teacher))
        return rows_of(rows[held_out]), targets


def taught(rows: Sequence[Row], teacher: Path) -> list[Row]:
    """`rows` with what a member says of them, in its file of OOF probabilities.

    Raises UserError if the file is missing, damaged, or lacks a row.
    """
    names = probability_columns(letters_of_table(teacher, "pool_member", PROBABILITY))
    table = read_table(teacher, "pool_member", ["id", *names])
    said = dict(zip(table["id"], map(tuple, table[names].to_numpy().tolist()), strict=True))
    if missing := [row.id for row in rows if row.id not in said]:
        raise UserError(f"{teacher}: lacks rows {some(missing)}. Run the rule pool_member again for this member.")
    return [replace(row, taught=said[row.id]) for row in rows]
