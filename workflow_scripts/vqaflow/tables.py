"""Reading the user's CSV files as they are: every cell a string, record by record, whatever the encoding."""

import codecs
import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vqaflow.config import LETTERS, ColumnsConfig
from vqaflow.errors import UserError

BLOCK = 1 << 20
IMAGE_NAMES = ("path", "image")  # found without being named in data.columns
Record = tuple[int, list[str]]  # the line that the record starts at, from 1, and its cells


class UnreadableTable(UserError):
    """A CSV file that cannot be read (on): `line` is where, 0 for the file as a whole."""

    def __init__(self, kind: str, line: int, what: str, cure: str) -> None:
        super().__init__(f"{what}. {cure}")
        self.kind, self.line, self.what, self.cure = kind, line, what, cure


def detect_encoding(path: Path) -> str:
    """Name the encoding of a text file, ``utf-8-sig`` (with or without a byte order mark) or ``cp949``.

    The rule, over the whole file: what decodes as UTF-8 is UTF-8 (Korean text in CP949 practically never does); else
    what decodes as CP949, with at least half of its non-ASCII characters among those of KS X 1001 (all common Korean,
    while Western text misread as CP949 gives rare syllables), is CP949. Everything else is refused, not guessed.
    """
    with path.open("rb") as file:
        head = file.read(BLOCK)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableTable("encoding", 1, "the file is in UTF-16", "Save it as CSV in UTF-8")
    bad_line = first_undecodable_line(path, "utf-8")
    if bad_line is None:
        return "utf-8-sig"
    bad_in_cp949 = first_undecodable_line(path, "cp949")
    if (bad_in_cp949 is None or bad_in_cp949 > bad_line) and is_korean(head):
        if bad_in_cp949 is None:
            return "cp949"
        what = "the text is CP949 up to this line, which has a byte that is not"
        raise UnreadableTable("encoding", bad_in_cp949, what, "Correct the line, and save the file as CSV in UTF-8")
    from charset_normalizer import from_bytes

    best = from_bytes(head[:65536]).best()
    guess = f" (it may be {best.encoding})" if best else ""
    what = f"the text is neither UTF-8 nor CP949{guess}: this line has a byte that is not UTF-8"
    raise UnreadableTable("encoding", bad_line, what, "Save the file as CSV in UTF-8")


def first_undecodable_line(path: Path, encoding: str) -> int | None:
    """The line of the first byte that is not of `encoding`, or None."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                return line + error.object[: error.start].count(b"\n")
            if not block:
                return None
            line += block.count(b"\n")


def is_korean(head: bytes) -> bool:
    """Whether CP949 text (cut off anywhere) is Korean rather than another encoding that happens to decode.

    Bytes that are not CP949 do not count.
    """
    characters = [c for c in codecs.getincrementaldecoder("cp949")("ignore").decode(head) if not c.isascii()]
    return 2 * sum(map(in_ks_x_1001, characters)) >= len(characters)


@cache
def in_ks_x_1001(character: str) -> bool:
    """Whether the character has a two-byte code in EUC-KR (Python spells other syllables with eight bytes)."""
    try:
        return len(character.encode("euc_kr")) == 2
    except UnicodeEncodeError:
        return False


def read_records(path: Path, encoding: str) -> Iterator[Record]:
    """The records of a CSV file, the header first; empty lines are skipped.

    Broken quoting and cells beyond the csv module's limit raise UnreadableTable.
    """
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    what = f"a cell is longer than {csv.field_size_limit():,} characters; the file was not read on"
                    cure = "Shorten it, or close its quotation mark if it took in the lines below"
                    raise UnreadableTable("cell_too_long", line, what, cure) from None
                what = f"a quotation mark is not closed, or stands within a cell ({error}); the file was not read on"
                cure = 'Put the cell in "…" and double the marks within it'
                raise UnreadableTable("quoting", line, what, cure) from None
            if cells:
                yield line, cells


@dataclass(frozen=True)
class Layout:
    """Where a table's columns are: `columns` maps the names that vqaflow uses to (the user's name, position).

    `extras` does the same for columns that vqaflow does not read.
    """

    columns: Mapping[str, tuple[str, int]]
    extras: Mapping[str, tuple[str, int]]
    width: int

    def user_name(self, name: str) -> str:
        """The user's name of column `name`."""
        return (self.columns.get(name) or self.extras[name])[0]


def wanted_columns(names: ColumnsConfig, with_answer: bool) -> dict[str, tuple[str, ...]]:
    """The names that each column may have in the file; the configured one goes first."""
    image = (names.image, *(n for n in IMAGE_NAMES if n != names.image))
    wanted = {"id": (names.id,), "path": image, "question": (names.question,)}
    wanted |= {letter: (name,) for letter, name in zip(LETTERS, names.choices, strict=True)}
    return wanted | ({"answer": (names.answer,)} if with_answer else {})


def lay_out(
    header: Sequence[str], wanted: Mapping[str, tuple[str, ...]], reserved: Sequence[str]
) -> tuple[Layout, list[UnreadableTable]]:
    """Find the `wanted` columns in a file's `header`, and what is wrong with it.

    An extra column whose name is among `reserved` (or empty) becomes ``csv_<name>`` (or ``csv_<position>``).
    """
    if one_cell(header):
        what = f"the columns' names came out as one cell, {header[0]!r}"
        return Layout({}, {}, 1), [UnreadableTable("separator", 1, what, "Separate the cells by commas")]
    problems = repeated_columns(header)
    columns = {}
    for name, choices in wanted.items():
        found = next((choice for choice in choices if choice in header), None)
        if found is None:
            problems.append(missing_column(choices[0], header))
        else:
            columns[name] = (found, header.index(found))
    taken = {position for _, position in columns.values()}
    extras: dict[str, tuple[str, int]] = {}
    for position, user_name in enumerate(header):
        if position not in taken:
            name = user_name or f"csv_{position + 1}"
            while name in reserved or name in extras or (name in header and name != user_name):
                name = f"csv_{name}"
            extras[name] = (user_name, position)
    return Layout(columns, extras, len(header)), problems


def lay_out_sample(header: Sequence[str], id_name: str | None = None) -> tuple[Layout, list[UnreadableTable]]:
    """Find ids and answers in a sample submission's `header`, and what is wrong with it.

    The first of its two columns holds the ids, the second is for the answers, whatever they are called; a second column
    of the name `id_name` tells that they are in another order.
    """
    columns = zip(("id", "answer"), zip(header, range(2), strict=False), strict=False)
    layout = Layout(dict(columns), {}, len(header))
    ids_second = id_name is not None and header[1:2] == [id_name] and header[0] != id_name
    if len(header) == 2 and not ids_second:
        return layout, repeated_columns(header)
    what = f"the columns are {', '.join(map(repr, header))}, not the ids' and then the answers'"
    if not header[0].strip() and len(header) > 1:
        cure = "Remove the first, unnamed column (pandas writes none with index=False)"
    elif len(header) == 1:
        cure = "Separate the cells by commas" if one_cell(header) else "Add a second column, for the answers"
    elif len(header) == 2:
        cure = f"Put the column {id_name!r} first"
    else:
        cure = "Keep two: the ids' column first, then the answers'"
    return layout, [UnreadableTable("sample_columns", 1, what, cure)]


def repeated_columns(header: Sequence[str]) -> list[UnreadableTable]:
    """A problem for each name that several columns have."""
    return [
        UnreadableTable("repeated_column", 1, f"two columns are called {name!r}", "Rename one of them")
        for name in sorted({n for n in header if header.count(n) > 1})
    ]


def one_cell(header: Sequence[str]) -> bool:
    """Whether the header came out as one cell since something else than a comma separates its names."""
    return len(header) == 1 and any(mark in header[0] for mark in ";\t|")


def missing_column(name: str, header: Sequence[str]) -> UnreadableTable:
    """What to say of a column that the header lacks: the nearest one that it has."""
    by_lower = {column.strip().lower(): column for column in header}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1)
    cure = "Add it, or name yours under data.columns"
    if nearest:
        cure = f"Is it {by_lower[nearest[0]]!r}? Then rename that, or name it under data.columns"
    return UnreadableTable("missing_column", 1, f"no column {name!r} among {', '.join(map(repr, header))}", cure)
