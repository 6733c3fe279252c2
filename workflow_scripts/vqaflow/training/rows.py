"""The rows of a training: those of all folds but one, or all rows."""

from dataclasses import dataclass
from pathlib import Path

from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.runtime.errors import UserError


@dataclass(frozen=True)
class FoldRows:
    """The training rows, split by one fold: `table` is the checked table, `folds` the file of folds.

    If `fold` is None, no row is held out.
    """

    table: Path
    folds: Path
    fold: int | None

    def split(self) -> tuple[list[Row], list[Row]]:
        """The rows of the fold (held out) and all others.

        Raises UserError if a file is missing or damaged, or if there is no such fold.
        """
        assigned = read_table(self.folds, "make_folds", ["id", "fold"])
        rows = read_table(self.table, "validate_tables").merge(assigned, on="id", validate="1:1")
        if self.fold is not None and self.fold not in set(rows["fold"]):
            raise UserError(f"{self.folds}: there is no fold {self.fold}. Use a fold from 0 to {rows['fold'].max()}.")
        held_out = rows["fold"] == self.fold
        return rows_of(rows[held_out]), rows_of(rows[~held_out])
