"""The declared form of the tables: what a CSV cell must be, and what the checked tables contain."""

import pandera.pandas as pa
import pyarrow
from pandera.typing.pandas import Series

from vqaflow.artifacts.columns import LETTERS, QTYPES

EMPTY_CELL, ANSWER = "empty_cell", "answer"  # the checks' names, as pandera reports them


def is_filled(cells: Series) -> Series:
    """Whether each cell contains a visible character: ``nan``, ``None`` and ``0`` do, spaces do not."""
    return cells.map(lambda text: any(c.isprintable() and not c.isspace() for c in text)).astype(bool)


def input_schema(columns: list[str]) -> pa.DataFrameSchema:
    """What the cells of a CSV file's `columns` must be, as strings."""
    filled = pa.Check(is_filled, name=EMPTY_CELL)
    # An empty answer is an empty cell, not a wrong letter as well.
    letter = pa.Check(lambda cells: cells.isin(LETTERS) | ~is_filled(cells), name=ANSWER)
    return pa.DataFrameSchema(
        {name: pa.Column(str, [filled, letter] if name == "answer" else filled) for name in columns}
    )


class CheckedTable(pa.DataFrameModel):
    """results/tables/test.parquet; sizes are 0 and the digests null where a test row's image is unusable."""

    id: Series[str] = pa.Field(unique=True)
    path: Series[str]
    image_file: Series[str]
    question: Series[str]
    a: Series[str]
    b: Series[str]
    c: Series[str]
    d: Series[str]
    sha256: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$", nullable=True)
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
    """results/tables/train.parquet: every row has an answer and a usable image."""

    answer: Series[str] = pa.Field(isin=LETTERS)
    sha256: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{64}$")
    phash: Series[str] = pa.Field(str_matches=r"^[0-9a-f]{16}$")
    width: Series[int] = pa.Field(gt=0)
    height: Series[int] = pa.Field(gt=0)
    usable: Series[bool] = pa.Field(eq=True)


TEXTS = ["id", "path", "image_file", "question", *LETTERS]
FOUND = {
    "sha256": pyarrow.string(),
    "phash": pyarrow.string(),
    "width": pyarrow.int64(),
    "height": pyarrow.int64(),
    "qtype": pyarrow.string(),
    "flip_unsafe": pyarrow.bool_(),
    "usable": pyarrow.bool_(),
}
RESERVED = [*TEXTS, "answer", *FOUND, "fold", "group"]  # names that the user's extra columns cannot keep


def parquet_schema(with_answer: bool, extras: list[str]) -> pyarrow.Schema:
    """The columns of a checked table, in their order."""
    texts = [*TEXTS, *(["answer"] if with_answer else [])]
    fields = {name: pyarrow.string() for name in texts} | FOUND | {name: pyarrow.string() for name in extras}
    return pyarrow.schema(list(fields.items()))
