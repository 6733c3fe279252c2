"""The declared form of the tables: what a CSV cell must be, and what the checked tables contain.

Shapes: N rows, C choices.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow
from pandera.typing.pandas import Series

from vqaflow.artifacts.columns import ALL_LETTERS, PEOPLE, QTYPES, SOURCE, letters_in, share_columns

EMPTY_CELL = "empty_cell"  # the check's name, as pandera reports it


def is_filled(cells: Series) -> Series:
    """Whether each cell contains a visible character."""
    return cells.map(is_visible).astype(bool)


def is_visible(text: str) -> bool:
    """Whether a text contains a visible character: ``nan``, ``None`` and ``0`` do, spaces do not."""
    return any(c.isprintable() and not c.isspace() for c in text)


def input_schema(columns: list[str]) -> pa.DataFrameSchema:
    """What the cells of a CSV file's `columns` must be, as strings."""
    filled = pa.Check(is_filled, name=EMPTY_CELL)
    return pa.DataFrameSchema({name: pa.Column(str, filled) for name in columns})


class CheckedTable(pa.DataFrameModel):
    """results/tables/test.parquet; sizes are 0 and the digests null where a test row's image is unusable.

    The columns of choices, 2 to 10, are added by `checked_schema`: a choice that a row lacks is null.
    """

    id: Series[str] = pa.Field(unique=True)
    path: Series[str]
    image_file: Series[str]
    question: Series[str]
    sha256: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$", nullable=True)
    pixels: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$", nullable=True)
    phash: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{16}$", nullable=True)
    width: Series[int] = pa.Field(ge=0)
    height: Series[int] = pa.Field(ge=0)
    qtype: Series[str] = pa.Field(isin=QTYPES)
    flip_unsafe: Series[bool]
    usable: Series[bool]

    class Config:
        """Extra columns may follow."""

        strict = False


class CheckedTrainTable(CheckedTable):
    """results/tables/train.parquet: every row has an answer and a usable image; `source` is the table it is from.

    Where any table has the answers of several people, `checked_schema` adds ``share_a`` … and ``people``.
    """

    answer: Series[str]
    source: Series[str]
    sha256: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$")
    pixels: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$")
    phash: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{16}$")
    width: Series[int] = pa.Field(gt=0)
    height: Series[int] = pa.Field(gt=0)
    usable: Series[bool] = pa.Field(eq=True)


def checked_schema(columns: Iterable[str], with_answer: bool) -> pa.DataFrameSchema:
    """What a checked table with these `columns` must be, the training table `with_answer`."""
    names = set(columns)
    letters = letters_in(names)
    model = (CheckedTrainTable if with_answer else CheckedTable).to_schema()
    added = {letter: pa.Column(str, nullable=True) for letter in letters}
    checks = []
    if with_answer:
        checks.append(pa.Check(lambda table: has_answer(table, letters), name="the answer is a choice of the row"))
    if with_answer and PEOPLE in names:
        added |= {name: pa.Column(float, pa.Check.in_range(0, 1)) for name in share_columns(letters)}
        added[PEOPLE] = pa.Column(int, pa.Check.ge(1))
        sums = pa.Check(lambda table: shares_are_whole(table, letters), name="the shares of a row sum to 1")
        checks.append(sums)
    schema = model.add_columns(added)
    schema.checks = [*schema.checks, *checks]
    return schema


def has_answer(table: pd.DataFrame, letters: Sequence[str]) -> bool:
    """Whether each row's answer is one of the `letters`, and a choice that the row has."""
    known = table["answer"].isin(letters)
    return bool(known.all()) and all(table.loc[table["answer"] == x, x].notna().all() for x in letters)


def shares_are_whole(table: pd.DataFrame, letters: Sequence[str]) -> bool:
    """Whether the shares of each row sum to 1, and are 0 for choices that the row lacks."""
    shares_NC = table[share_columns(letters)].to_numpy()
    absent_NC = table[list(letters)].isna().to_numpy()
    return bool(np.allclose(shares_NC.sum(1), 1) and not shares_NC[absent_NC].any())


TEXTS = ["id", "path", "image_file", "question"]
FOUND = {
    "sha256": pyarrow.string(),
    "pixels": pyarrow.string(),
    "phash": pyarrow.string(),
    "width": pyarrow.int64(),
    "height": pyarrow.int64(),
    "qtype": pyarrow.string(),
    "flip_unsafe": pyarrow.bool_(),
    "usable": pyarrow.bool_(),
}
# Names that the user's extra columns cannot keep.
RESERVED = [*TEXTS, *ALL_LETTERS, "answer", SOURCE, PEOPLE, *share_columns(ALL_LETTERS), *FOUND, "fold", "group"]


def parquet_schema(
    with_answer: bool, extras: Iterable[str], letters: Sequence[str], with_shares: bool = False
) -> pyarrow.Schema:
    """The columns of a checked table with the choices `letters`, in their order."""
    texts = [*TEXTS, *letters, *(["answer", SOURCE] if with_answer else [])]
    fields = {name: pyarrow.string() for name in texts}
    if with_shares:
        fields |= {name: pyarrow.float64() for name in share_columns(letters)} | {PEOPLE: pyarrow.int64()}
    fields |= FOUND | {name: pyarrow.string() for name in extras}
    return pyarrow.schema(list(fields.items()))
