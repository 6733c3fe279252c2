"""Which choices the rows of a checked table have: its columns are those of the row with the most.

Shapes: N rows, C choices of the table.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.columns import FEWEST_CHOICES, letters_in
from vqaflow.artifacts.reading import letters_of_table, read_table

OWN = "letters"  # the column of a row's own letters, as "abd"


def read_with_letters(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns of a checked table, and in the column OWN the letters of each row's choices.

    Raises UserError if the table is missing, damaged or lacks a column.
    """
    letters = letters_of_table(path, "validate_tables")
    table = read_table(path, "validate_tables", [*columns, *letters])
    own = pl.Series(OWN, own_letters(table), dtype=pl.String)
    return pl.from_pandas(table[list(columns)]).with_columns(own)


def own_letters(table: pd.DataFrame) -> list[str]:
    """The letters of each row's choices, as "abd": those whose cells are not null.

    A test row with fewer than two choices cannot be used, and is answered all the same: it counts as having all.
    """
    letters, own = letters_in(table), np.full(len(table), "", dtype=object)
    for letter in letters:
        own = own + np.where(table[letter].notna(), letter, "").astype(object)
    return [found if len(found) >= FEWEST_CHOICES else "".join(letters) for found in own.tolist()]


def choices_there(own: Iterable[str], letters: Sequence[str]) -> np.ndarray:
    """Which of the table's `letters` each row has (N, C), from its own letters."""
    own_N = pl.Series(list(own), dtype=pl.String)
    return np.stack([own_N.str.contains(letter, literal=True).to_numpy() for letter in letters], axis=1)
