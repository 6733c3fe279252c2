"""Opening a user's CSV file: its layout and its records, or what keeps it from being read."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
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
from vqaflow.data.table_layout import NO_HEADER, TableLayout
from vqaflow.runtime.stage import log

HEADER_WITHIN = 20  # lines in which a header is looked for below a title


@dataclass(frozen=True)
class OpenTable:
    """A CSV file that can be read: the `layout` of its columns, and how its records lie under the header.

    `may_be_short`: columns at the end that are not in the layout are not read, so that records may lack them.
    """

    path: Path
    layout: TableLayout
    encoding: str
    shape: Shape
    may_be_short: bool = False  # set where a check of labels finds cells that have moved

    @property
    def rows(self) -> int:
        """The number of records with something in them."""
        return self.shape.rows

    def records(self) -> Iterator[Record]:
        """The records below the header, from the first one at each call; those of empty cells are left out.

        Records that do not fit the header are given as they are, but for those that only lack cells at the end which
        nobody reads, as Excel saves them: they are filled up.
        """
        records = read_records(self.path, self.encoding)
        _, header = next(records)
        return ((line, self.fitted(cells)) for line, cells in records if not is_blank(cells) and cells != header)

    def fitted(self, cells: list[str]) -> list[str]:
        """The cells of a record under the header."""
        known = self.layout.columns or self.layout.extras
        read = 1 + max(position for _, position in known.values())
        if self.may_be_short and read <= len(cells) < self.shape.width:
            return cells + [""] * (self.shape.width - len(cells))
        return self.shape.fit(cells) or cells


def open_table(
    path: Path,
    lay_out_header: Callable[[list[str]], tuple[TableLayout, list[UnreadableTable]]],
    problems: Problems,
    exact: bool = False,
    encoding: str | None = None,
) -> OpenTable | None:
    """Open a CSV file; None, with the problems noted, if it cannot be read.

    Records of empty cells only, as Excel saves emptied rows, are left out with a warning. With `exact`, records that
    all have the same number of empty cells beyond the header do not fit it. `encoding` is data.encoding.
    """
    try:
        if not path.is_file():
            raise missing_file(path)
        encoding = detect_encoding(path, encoding)
        records = read_records(path, encoding)
        _, header = next(records, (0, []))
        if not header:
            raise UnreadableTable("empty_table", 0, "the file is empty", "Give a table with a header and rows")
        shape = survey(header, records)
        if exact:
            shape = replace(shape, most=len(header))
        layout, faults = lay_out_header(plain_names(path, header[: shape.width]))
        if [fault.kind for fault in faults] == [NO_HEADER]:
            below = header_below(path, encoding, lay_out_header)
            faults = [below or UnreadableTable("header", 1, faults[0].what, faults[0].cure)]
        if not shape.rows and not faults:
            faults.append(UnreadableTable("empty_table", 0, "the table has no rows", "Give a table with rows"))
    except UnreadableTable as fault:
        faults = [fault]
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        faults = [UnreadableTable("file_missing", 0, what, "Check the file's permissions and its disk")]
    for fault in faults:
        cure, kind = fault.cure_or_key, fault.kind
        problems.add(path, fault.line, "", "", "", problem=fault.what, cure=cure, kind=kind, severity=FATAL)
    if faults:
        return None
    warn_of_other_rows(path, shape, problems)
    return OpenTable(path, layout, encoding, shape)


def missing_file(path: Path) -> UnreadableTable:
    """The problem of a path that no file has."""
    what = "no such file"
    cure = "Correct the path under data in the configuration"
    if path.is_dir():
        what = "it is a folder, not a file"
    elif path.is_symlink():
        target = path.readlink()
        what = f"it is a link to {target}, which is not there"
        cure = "Fetch that file, or correct the link"
    return UnreadableTable("file_missing", 0, what, cure)


def plain_names(path: Path, header: list[str]) -> list[str]:
    """The names of the columns, without spaces around them and invisible characters where that makes no name twice."""
    plain = ["".join(c for c in name if unicodedata.category(c) != "Cf").strip() for name in header]
    names = [
        new if new not in header and plain.count(new) == 1 else old for old, new in zip(header, plain, strict=True)
    ]
    if names != header:
        log.info(
            "%s: names of columns are read without the spaces around them: %s",
            path,
            ", ".join(repr(old) for old, new in zip(header, names, strict=True) if old != new),
        )
    return names


def header_below(
    path: Path, encoding: str, lay_out_header: Callable[[list[str]], tuple[TableLayout, list[UnreadableTable]]]
) -> UnreadableTable | None:
    """The problem of a first line that is a title or a note, if a header follows in one of the next lines."""
    records = islice(read_records(path, encoding), HEADER_WITHIN)
    _, first = next(records)
    for line, cells in records:
        if not lay_out_header(cells)[1]:
            what = f"the first line is not the header, which is in line {line}; it is {', '.join(map(repr, first[:9]))}"
            return UnreadableTable("header", 1, what, "Delete the lines above the header")
    return None


def warn_of_other_rows(path: Path, shape: Shape, problems: Problems) -> None:
    """Note once how many rows of the file have only empty cells, and how many repeat the header."""
    if shape.headers:
        what = "the row repeats the header, as where two files were put together"
        if len(shape.headers) > 1:
            what = f"{len(shape.headers)} rows repeat the header, this one first"
        cure = "Nothing needs to be done: such rows are left out"
        line = shape.headers[0]
        problems.add(path, line, "", "", "", problem=what, cure=cure, kind="repeated_header", severity=WARNING)
    if shape.blank:
        what = f"{shape.blank} rows have only empty cells, this one first" if shape.blank > 1 else "all cells are empty"
        cure = "Nothing needs to be done: such rows are left out"
        problems.add(path, shape.first_blank, "", "", "", problem=what, cure=cure, kind="empty_rows", severity=WARNING)
