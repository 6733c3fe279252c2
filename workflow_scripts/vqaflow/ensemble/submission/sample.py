"""The sample submission, and the ids of the test table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqaflow.artifacts.columns import ALL_LETTERS, letters_in
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.artifacts.labels import sample_encoding
from vqaflow.data.table_layout import lay_out_sample
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of, some


@dataclass(frozen=True)
class Sample:
    """The sample submission: the names of its two columns, its ids in order, and its answers, which hold places."""

    columns: tuple[str, str]
    ids: list[str]
    answers: Sequence[str] = ()


def read_sample(path: Path, labels: Path | None = None) -> Sample:
    """Read the sample submission; its first column holds the ids, its second is for the answers.

    `labels` is labels.json, which knows the encoding that the user has named.
    """
    header, rows = read_csv(path, sample_encoding(labels))
    for fault in lay_out_sample(header)[1]:
        raise UserError(f"{path}: {fault}.")
    ids = [row[0] for row in rows]
    if repeated := duplicates(ids):
        raise UserError(f"{path}: ids {some(repeated)} occur more than once. Give the competition's original file.")
    return Sample((header[0], header[1]), ids, [row[1] for row in rows])


@dataclass(frozen=True)
class TestRows:
    """The ids of a test table, and its columns of choices by letter; none if they are not called a, b, c and so on."""

    ids: list[str]
    choices: dict[str, list[str | None]]


def read_test_rows(path: Path, sample: Sample) -> TestRows:
    """The ids and choices of a test table, parquet or CSV.

    The ids column is called `id`, in small letters or capitals, or as in the sample; of several, it is the one that has
    the sample's ids. If there is none of these names, it is the column that has all the sample's ids, or a CSV's first.
    Raises UserError if the file cannot be read, or if no column can be taken for the ids.
    """
    columns, is_csv = read_columns(path)
    known, names = set(sample.ids), {"id", sample.columns[0].casefold()}
    named = [name for name in columns if name.strip().casefold() in names]
    fitting = [name for name in named or columns if known <= set(columns[name])]
    for name in (*fitting, *named, *(columns if is_csv else ())):
        by_letter = {
            letter: next((x for x in (letter, letter.upper()) if x in columns), None) for letter in ALL_LETTERS
        }
        letters = letters_in(letter for letter, found in by_letter.items() if found)
        return TestRows(columns[name], {letter: columns[by_letter[letter]] for letter in letters})
    shown, wanted = ", ".join(map(repr, columns)), " or ".join(dict.fromkeys(["'id'", repr(sample.columns[0])]))
    raise UserError(f"{path}: no column {wanted} among {shown}. Give the table of the test rows.")


def read_columns(path: Path) -> tuple[dict[str, list[str]], bool]:
    """The columns of a table as strings, and whether it is a CSV; of several columns of one name, the first."""
    if not path.is_file():
        raise UserError(f"{path}: cannot be read (no such file). Check the path.")
    with path.open("rb") as file:
        is_parquet = path.suffix == ".parquet" or file.read(4) == b"PAR1"
    if is_parquet:
        try:
            table = pl.read_parquet(path)
            texts = table.select(name for name, kind in table.schema.items() if not kind.is_nested())
            return {name: texts[name].cast(pl.String).fill_null("").to_list() for name in texts.columns}, False
        except (OSError, pl.exceptions.PolarsError) as error:
            cure = "Give the checked test table (results/tables/test.parquet) or the test CSV"
            raise UserError(f"{path}: is not a parquet file, or is damaged ({reason_of(error)}). {cure}.") from None
    header, rows = read_csv(path)
    return {name: [row[place] for row in rows] for place, name in reversed(list(enumerate(header)))}, True


def duplicates(ids: list[str]) -> list[str]:
    """The ids that occur more than once, in the order of their second occurrence."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for row_id in ids:
        if row_id in seen:
            repeated[row_id] = None
        seen.add(row_id)
    return list(repeated)
