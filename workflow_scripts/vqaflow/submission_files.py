"""Reading the CSVs around a submission: the sample, and the ids of the test table."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vqaflow.errors import UserError
from vqaflow.score_files import some


@dataclass(frozen=True)
class Sample:
    """The sample submission: the names of its two columns and its ids in order."""

    columns: tuple[str, str]
    ids: list[str]


def read_text(path: Path) -> str:
    """A CSV's text: UTF-8 with or without BOM, else CP949 (what Korean Excel saves)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: is neither UTF-8 nor CP949 text. Save it as CSV in UTF-8.")


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """A CSV's header and its records, all strings; empty lines are skipped."""
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline=""), strict=True) if row]
    except csv.Error as error:
        raise UserError(f"{path}: is no CSV ({error}). Save it as CSV in UTF-8.") from None
    if not rows:
        raise UserError(f"{path}: is empty. Give a CSV with a header line.")
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise UserError(f"{path}: record {number} has {len(row)} fields, the header {len(header)}. Mend it.")
    return header, rows[1:]


def read_sample(path: Path) -> Sample:
    """Read the sample submission; its first column holds the ids, its second is for the answers."""
    header, rows = read_rows(path)
    if len(header) != 2:
        raise UserError(
            f"{path}: has {len(header)} columns ({', '.join(header)}), not two. Give the sample submission."
        )
    ids = [row[0] for row in rows]
    if repeated := duplicates(ids):
        raise UserError(f"{path}: ids {some(repeated)} stand there more than once. Give the sample submission.")
    return Sample((header[0], header[1]), ids)


def read_test_ids(path: Path) -> list[str]:
    """The ids of a test table: a parquet file's or a CSV's column `id` (a CSV's first one if none is called so)."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path, columns=["id"])["id"].cast(pl.String).to_list()
    header, rows = read_rows(path)
    column = header.index("id") if "id" in header else 0
    return [row[column] for row in rows]


def duplicates(ids: list[str]) -> list[str]:
    """The ids that stand in `ids` more than once, in order of their second appearance."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for row_id in ids:
        if row_id in seen:
            repeated[row_id] = None
        seen.add(row_id)
    return list(repeated)
