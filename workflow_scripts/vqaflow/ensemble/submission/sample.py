"""The sample submission, and the ids of the test table."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqaflow.artifacts.csv_files import read_csv
from vqaflow.data.table_layout import lay_out_sample
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some


@dataclass(frozen=True)
class Sample:
    """The sample submission: the names of its two columns and its ids in order."""

    columns: tuple[str, str]
    ids: list[str]


def read_sample(path: Path) -> Sample:
    """Read the sample submission; its first column holds the ids, its second is for the answers."""
    header, rows = read_csv(path)
    for fault in lay_out_sample(header)[1]:
        raise UserError(f"{path}: {fault}.")
    ids = [row[0] for row in rows]
    if repeated := duplicates(ids):
        raise UserError(f"{path}: ids {some(repeated)} occur more than once. Give the competition's original file.")
    return Sample((header[0], header[1]), ids)


def read_test_ids(path: Path) -> list[str]:
    """The ids of a test table, parquet or CSV: the column `id`, or a CSV's first column if it has none of that name."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path, columns=["id"])["id"].cast(pl.String).to_list()
    header, rows = read_csv(path)
    column = header.index("id") if "id" in header else 0
    return [row[column] for row in rows]


def duplicates(ids: list[str]) -> list[str]:
    """The ids that occur more than once, in the order of their second occurrence."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for row_id in ids:
        if row_id in seen:
            repeated[row_id] = None
        seen.add(row_id)
    return list(repeated)
