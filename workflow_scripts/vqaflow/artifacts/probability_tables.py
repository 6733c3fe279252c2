"""The cells of someone's probability file, whatever its format: CSV, parquet or npz.

A file's content decides what it is, not the ending of its name. Every other format is refused with the way to save the
same numbers in one of the three.

Shapes: N rows, C choices.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from vqaflow.artifacts.csv_files import read_csv, refuse_pipes
from vqaflow.artifacts.file_kinds import file_kind
from vqaflow.artifacts.picture_kinds import FileKind
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of

Column = Sequence[str] | np.ndarray
ID_NAMES = ("id", "ids", "row_id", "row_ids", "question_id", "qid", "uid", "sample_id")  # the first one found counts
ARRAY_NAMES = ("avg", "probs", "probabilities", "p", "prob", "proba", "mean", "preds")
TO_CSV = 'Save it as CSV: frame.to_csv("oof.csv", index=False), with the columns id, p_a, p_b, …'
ZIP = b"PK\x03\x04"
# What reading one raises: for its parts, an unknown or broken compression, a password, times and sizes that cannot be.
DAMAGED_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    OSError,
)
TO_NPZ = 'Save it with np.savez("oof.npz", ids=np.array(ids, dtype=str), probs=probs)'
FORMATS = {  # how a file of a format begins that no table has: what it is, and how to save its numbers
    b"\x80": ("is a pickle, which can run any code when it is opened", TO_CSV),
    b"\x93NUMPY": ("is a single array (npy), which has no ids", TO_NPZ),
}


@dataclass(frozen=True)
class RawTable:
    """Named columns of equal length, in the file's order; names may repeat."""

    path: Path
    names: list[str]
    columns: list[Column]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.columns[0])


def read_raw(path: Path, choices: int) -> RawTable:
    """The columns of `path`. Raises UserError if there is no such file, or if it is not a whole file of a known format.

    An array (N, C) of an npz becomes one column per choice, named by its number; `choices` is the C that it must have.
    """
    refuse_pipes(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file. Correct the path, or put the file there.") from None
    if head.startswith(b"PK"):
        table = _read_npz(path, choices)
    elif head.startswith(b"PAR1"):
        table = _read_parquet(path)
    else:
        _require_csv(path, head)
        header, records = read_csv(path)
        table = RawTable(path, header, list(zip(*records, strict=True)) or [[] for _ in header])
    if not table.rows:
        raise UserError(f"{path}: has no rows. Write one row per row of the table.")
    return table


def _require_csv(path: Path, head: bytes) -> None:
    """Raise UserError if the first bytes of a file are not those of a CSV with commas and a header.

    read_csv names the other formats.
    """
    for start, (what, cure) in FORMATS.items():
        if head.startswith(start):
            raise UserError(f"{path}: {what}. {cure}.")
    if b"\0" in head:
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise UserError(f"{path}: is empty. Write it again, or copy it again.")
    line = text.splitlines()[0].decode("utf-8", "replace")
    cells = line.split(",")
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(cells) == 1 and mark in line:
            raise UserError(f"{path}: its cells are separated by {name}. Use commas, and write 0.5, not 0,5.")
    if len(cells) > 2 and all(map(_is_fraction, cells[1:])):
        raise UserError(f"{path} line 1: has numbers instead of a header. Put a line id,p_a,p_b,… above it.")


def _is_fraction(cell: str) -> bool:
    """Whether a cell is a decimal number; column names such as 0 and 1 are not."""
    try:
        return float(cell) == float(cell) and not cell.strip().isdecimal()
    except ValueError:
        return False


def _read_parquet(path: Path) -> RawTable:
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
        return RawTable(path, list(table.column_names), [_values(path, table, i) for i in range(table.num_columns)])
    except UserError:
        raise
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path}: is not a whole parquet file ({reason_of(error)}). Copy it again, or write it again."
        ) from None


def _values(path: Path, table: pyarrow.Table, number: int) -> np.ndarray:
    """A parquet column as text, a missing value as ''; decimal numbers stay as they are, which is much faster."""
    column, name = table.column(number), table.column_names[number]
    if pyarrow.types.is_floating(column.type) and column.null_count == 0:
        return column.to_numpy()
    return np.array(["" if value is None else _text(path, name, value) for value in column.to_pylist()], dtype=object)


def _read_npz(path: Path, choices: int) -> RawTable:
    """The ids and the array (N, C) of an npz, or its one-dimensional arrays as columns."""
    arrays = _load_arrays(path)
    flat = {name: array for name, array in arrays.items() if array.ndim == 1}
    known = [name for name in ARRAY_NAMES if name in arrays and arrays[name].ndim == 2]
    square = known or [name for name, array in arrays.items() if array.ndim == 2]
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    if not square:
        if deep := [name for name, array in arrays.items() if array.ndim > 2]:
            raise UserError(
                f"{path}: {deep[0]} has the shape {arrays[deep[0]].shape}. Average it over models or folds, "
                f"to (rows, {choices}), and save that as probs."
            )
        if len(flat) < 2:
            raise UserError(f"{path}: has no array (rows, {choices}), only {shapes or 'nothing'}. {TO_NPZ}.")
        return _columns(path, flat, shapes)
    if len(square) > 1:
        raise UserError(f"{path}: has several arrays that may be meant: {', '.join(square)}. Keep one of them.")
    p_NC = arrays[square[0]]
    ids = {name: array for name, array in flat.items() if name.casefold() in ID_NAMES}
    if not ids:
        raise UserError(f"{path}: has no array of ids, only {shapes}. {TO_NPZ}.")
    if p_NC.shape[1] != choices:
        turned = f" Transpose it: {square[0]}.T." if p_NC.shape[0] == choices else ""
        raise UserError(
            f"{path}: {square[0]} has the shape {p_NC.shape}, and the tables have {choices} choices per row."
            f"{turned or f' Save one column for each of the {choices} choices.'}"
        )
    named = {str(number): p_NC[:, number] for number in range(choices)}
    return _columns(path, ids | named, shapes)


def _columns(path: Path, arrays: dict[str, np.ndarray], shapes: str) -> RawTable:
    """A table of one-dimensional arrays. Raises UserError unless they are of one length."""
    if len({len(array) for array in arrays.values()}) > 1:
        raise UserError(f"{path}: its arrays are of different lengths ({shapes}). Save one id per row.")
    return RawTable(path, list(arrays), [_decoded(path, name, array) for name, array in arrays.items()])


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz. Raises UserError if it is another zip file, damaged, or has an array of Python objects."""
    try:
        with path.open("rb") as file:
            if file.read(len(ZIP)) != ZIP:  # a zip file is found by its end; NumPy looks at its beginning
                raise zipfile.BadZipFile
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
    except DAMAGED_ZIP:
        raise UserError(f"{path}: is not a whole npz (or zip) file. Copy it again, or write it again.") from None
    if not inside or not all(name.endswith(".npy") for name in inside):
        kind = file_kind(path) or FileKind("a zip archive", "Unpack it")
        raise UserError(f"{path}: is {kind.name}, not an npz. {kind.cure}.")
    with np.load(path, allow_pickle=False) as archive:
        return {name: _load_array(path, archive, name) for name in archive.files}


def _load_array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """One array of an npz. Raises UserError if it is damaged, or one of Python objects."""
    damaged = UserError(f"{path}: its array {name} is damaged. Copy it again, or write it again.")
    try:
        array = archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise damaged from None
        raise UserError(
            f"{path}: {name} is an array of Python objects, a pickle, which can run code when it is opened. {TO_NPZ}."
        ) from None
    except DAMAGED_ZIP:
        raise damaged from None
    if not isinstance(array, np.ndarray):  # an entry without the header of an array is returned as bytes
        raise damaged
    return array


def _decoded(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """An array of bytes as text; others as they are."""
    if array.dtype.kind != "S":
        return array
    return np.array([_text(path, name, value) for value in array.tolist()], dtype=object)


def _text(path: Path, name: str, value: object) -> str:
    """A value as text; bytes are UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise UserError(f"{path}: column {name} has bytes that are not UTF-8. {TO_CSV}.") from None
