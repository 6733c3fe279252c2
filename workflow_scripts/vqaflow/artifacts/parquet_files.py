"""Parquet in which a flipped bit is an error when the file is read, and never other data.

Each page has a checksum. The names and types of the columns, the number of rows and the metadata, which no checksum of
the format covers, have a digest of ours among the metadata. The files have no statistics and no copy of the schema in
Arrow's form, which readers would believe. Files of others, which lack the digest, are read as well. All parquet that
the package writes is written here, and read here or by `reading.read_table`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from vqaflow.runtime.digests import value_digest

WRITTEN: dict[str, Any] = {"write_page_checksum": True, "write_statistics": False, "store_schema": False}
FOOTER = b"vqaflow.footer"  # the entry of the metadata that holds the digest
# What reading a damaged file raises.
READ_ERRORS = (OSError, ValueError, KeyError, pa.ArrowException)


def write_parquet(table: pa.Table | pd.DataFrame | pl.DataFrame, out: Path) -> None:
    """Write a table; the index of a pandas table is left out."""
    made = as_arrow(table)
    with parquet_writer(out, made.schema) as write:
        write(made)


def as_arrow(table: pa.Table | pd.DataFrame | pl.DataFrame) -> pa.Table:
    """The table in Arrow's form."""
    if isinstance(table, pd.DataFrame):
        return pa.Table.from_pandas(table, preserve_index=False)
    return table.to_arrow() if isinstance(table, pl.DataFrame) else table


class PartsWriter:
    """Writes tables of one schema below each other, each as row groups of its own."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self.writer, self.rows = writer, 0

    def __call__(self, table: pa.Table) -> None:
        """Append the rows of `table`."""
        self.writer.write_table(table)
        self.rows += len(table)


@contextmanager
def parquet_writer(out: Path, schema: pa.Schema) -> Iterator[PartsWriter]:
    """A writer of a table in several parts."""
    with pq.ParquetWriter(out, schema, **WRITTEN) as writer:
        parts = PartsWriter(writer)
        yield parts
        names = [(name, _stored(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
        said = schema.metadata or {}
        writer.add_key_value_metadata({**said, FOOTER: footer_digest(names, parts.rows, said)})


def footer_digest(columns: Sequence[tuple[str, str]], rows: int, metadata: Mapping[bytes, bytes]) -> str:
    """The digest of what a file says of its columns (names and types), of its rows and of itself."""
    said = {key.decode("latin-1"): value.decode("latin-1") for key, value in metadata.items() if key != FOOTER}
    return value_digest([[list(column) for column in columns], rows, said])


def _stored(kind: pa.DataType) -> str:
    """The name of a type as it is read back without Arrow's copy of the schema."""
    return "string" if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else str(kind)


def read_schema(path: Path) -> pa.Schema:
    """The columns of a file, and its metadata. Raises one of READ_ERRORS if they are not as they were written."""
    with pq.ParquetFile(path) as file:
        return _checked(file)


def _checked(file: pq.ParquetFile) -> pa.Schema:
    schema = file.schema_arrow
    metadata = schema.metadata or {}
    columns = [(name, _stored(kind)) for name, kind in zip(schema.names, schema.types, strict=True)]
    if file.metadata.num_rows != sum(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)):
        raise ValueError("it does not have as many rows as it says")
    digest = metadata.get(FOOTER)
    if digest is not None and digest.decode() != footer_digest(columns, file.metadata.num_rows, metadata):
        raise ValueError("what it says of its columns and rows does not match its digest")
    return schema


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or some of its columns. Raises one of READ_ERRORS if it is not as it was written."""
    read_schema(path)
    found = pq.read_table(path, columns=None if columns is None else list(columns), page_checksum_verification=True)
    if missing := [name for name in columns or () if name not in found.column_names]:
        raise KeyError(f"it has no column {missing[0]}")
    return found


def read_slice(path: Path, columns: Sequence[str], start: int, rows: int | None) -> pl.DataFrame:
    """Some columns of `rows` rows (None: all) from row `start` on; other row groups are not read. Raises the same."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _checked(file)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        stop = sum(sizes) if rows is None else start + rows
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        wanted = [i for i, first in enumerate(starts) if first < stop and first + sizes[i] > start]
        found = file.read_row_groups(wanted, columns=list(columns))
    if missing := [name for name in columns if name not in found.column_names]:
        raise KeyError(f"it has no column {missing[0]}")
    skipped = start - starts[wanted[0]] if wanted else 0
    return pl.DataFrame(pl.from_arrow(found)).select(columns).slice(skipped, stop - start)
