"""The rows of a training: those of all folds but one, or all rows."""

from dataclasses import dataclass, field
from pathlib import Path

from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.config.sections import AnswersConfig
from vqaflow.runtime.errors import UserError
from vqaflow.training.targets import Targets, targets_of


@dataclass(frozen=True)
class FoldRows:
    """The training rows, split by one fold: `table` is the checked table, `folds` the file of folds.

    If `fold` is None, no row is held out. `answers` says which of the others train, and what they aim at.
    """

    table: Path
    folds: Path
    fold: int | None
    answers: AnswersConfig = field(default_factory=AnswersConfig)

    def split(self) -> tuple[list[Row], Targets]:
        """The rows of the fold (held out), and the rows of the other folds that train.

        Raises UserError if a file is missing or damaged, if there is no such fold, or if no row trains.
        """
        assigned = read_table(self.folds, "make_folds", ["id", "fold"])
        rows = read_table(self.table, "validate_tables").merge(assigned, on="id", validate="1:1")
        if self.fold is not None and self.fold not in set(rows["fold"]):
            raise UserError(f"{self.folds}: there is no fold {self.fold}. Use a fold from 0 to {rows['fold'].max()}.")
        held_out = rows["fold"] == self.fold
        return rows_of(rows[held_out]), targets_of(rows_of(rows[~held_out]), self.answers)
