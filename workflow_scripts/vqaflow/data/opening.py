"""Opening a user's CSV file: its layout and its records, or what keeps it from being read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vqaflow.artifacts.csv_files import (
    Record,
    Shape,
    UnreadableTable,
    detect_encoding,
    is_blank,
    read_records,
    survey,
)
from vqaflow.data.problems import FATAL, WARNING, Problems
from vqaflow.data.table_layout import TableLayout


@dataclass(frozen=True)
class OpenTable:
    """A CSV file that can be read: the `layout` of its columns, and how its records lie under the header."""

    path: Path
    layout: TableLayout
    encoding: str
    shape: Shape

    @property
    def rows(self) -> int:
        """The number of records with something in them."""
        return self.shape.rows

    def records(self) -> Iterator[Record]:
        """The records below the header, from the first one at each call; those of empty cells are left out.

        Records that do not fit the header are given as they are.
        """
        records = read_records(self.path, self.encoding)
        next(records)
        return ((line, self.shape.fit(cells) or cells) for line, cells in records if not is_blank(cells))


def open_table(
    path: Path,
    lay_out_header: Callable[[list[str]], tuple[TableLayout, list[UnreadableTable]]],
    problems: Problems,
    exact: bool = False,
) -> OpenTable | None:
    """Open a CSV file; None, with the problems noted, if it cannot be read.

    Records of empty cells only, as Excel saves emptied rows, are left out with a warning. With `exact`, records that
    all have the same number of empty cells beyond the header do not fit it.
    """
    try:
        if not path.is_file():
            raise UnreadableTable("file_missing", 0, "no such file", "Correct the path under data in the configuration")
        encoding = detect_encoding(path)
        records = read_records(path, encoding)
        _, header = next(records, (0, []))
        if not header:
            raise UnreadableTable("empty_table", 0, "the file is empty", "Give a table with a header and rows")
        shape = survey(header, records)
        if exact:
            shape = replace(shape, most=len(header))
        layout, faults = lay_out_header(header[: shape.width])
        if not shape.rows:
            faults.append(UnreadableTable("empty_table", 0, "the table has no rows", "Give a table with rows"))
    except UnreadableTable as fault:
        faults = [fault]
    for fault in faults:
        problems.add(path, fault.line, "", "", "", problem=fault.what, cure=fault.cure, kind=fault.kind, severity=FATAL)
    if faults:
        return None
    warn_of_empty_rows(path, shape, problems)
    return OpenTable(path, layout, encoding, shape)


def warn_of_empty_rows(path: Path, shape: Shape, problems: Problems) -> None:
    """Note once how many rows of the file have only empty cells."""
    if shape.blank:
        what = f"{shape.blank} rows have only empty cells, this one first" if shape.blank > 1 else "all cells are empty"
        cure = "Nothing needs to be done: such rows are left out"
        problems.add(path, shape.first_blank, "", "", "", problem=what, cure=cure, kind="empty_rows", severity=WARNING)
