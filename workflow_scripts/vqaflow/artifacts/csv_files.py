"""Reading the user's CSV files as they are: every cell a string, record by record, whatever the encoding."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqaflow.artifacts.encodings import (
    ends_within_character,
    evidence,
    first_undecodable_line,
    first_zero_line,
    guess,
    is_korean,
    is_mostly_utf8,
    written_in_ascii,
)
from vqaflow.artifacts.file_kinds import HEAD, file_kind, is_text, picture_in_csv_place
from vqaflow.runtime.errors import UserError

Record = tuple[int, list[str]]  # the line that the record starts at, from 1, and its cells
BYTE_ORDER_MARKS = {  # UTF-32's little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
SHIFT_SEQUENCE = re.compile(rb"\x1b\$[@BAC()]")  # ISO-2022-JP, -KR and -CN write their text as ASCII after an escape
INVISIBLE = "\u200b\ufeff\x1a"  # what copied cells, byte order marks and old editors (Ctrl-Z) leave
SAVE_AS_UTF8 = "Save the file as CSV in UTF-8"


class UnreadableTable(UserError):
    """A CSV file that cannot be read from `line` on (0: the file as a whole)."""

    def __init__(self, kind: str, line: int, what: str, cure: str) -> None:
        super().__init__(f"{what}. {cure}")
        self.kind, self.line, self.what, self.cure = kind, line, what, cure


def detect_encoding(path: Path) -> str:
    """Name the encoding of a text file, ``utf-8-sig`` (with or without a byte order mark) or ``cp949``.

    A file that decodes as UTF-8 is UTF-8 (Korean text in CP949 practically never does). Otherwise a file that decodes
    as CP949 is CP949 if it reads as Korean. Everything else is refused, not guessed: the message names what it may be.
    """
    refuse_other_kinds(path)
    refuse_zeros(path)
    bad_line = first_undecodable_line(path, "utf-8")
    if bad_line is None:
        return "utf-8-sig"
    bad_in_cp949 = first_undecodable_line(path, "cp949")
    if bad_in_cp949 is None or bad_in_cp949 > bad_line:
        if is_korean(evidence(path, bad_in_cp949).decode("cp949", errors="ignore")):
            if bad_in_cp949 is None:
                return "cp949"
            what = "the text is CP949 up to this line, which has a byte that is not CP949"
            raise UnreadableTable("encoding", bad_in_cp949, what, "Correct the line, and save the file as CSV in UTF-8")
    found = evidence(path)
    if is_mostly_utf8(found):
        if ends_within_character(path):
            what = "the file ends here, within a character: it was cut off"
            raise UnreadableTable("encoding", bad_line, what, "Get the whole file")
        what = "the text is UTF-8, but this line has a byte that is not UTF-8"
        raise UnreadableTable("encoding", bad_line, what, "Correct the line, and save the file as CSV in UTF-8")
    likely = guess(found)
    other = f"looks like {likely}" if likely else "is in an unknown encoding"
    what = f"the text is neither UTF-8 nor Korean in CP949; it {other}. This line has the first byte that is not UTF-8"
    raise UnreadableTable("encoding", bad_line, what, SAVE_AS_UTF8)


def refuse_other_kinds(path: Path) -> None:
    """Raise UnreadableTable for a file that is not text, or that is text of another kind than CSV."""
    refuse_pipes(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            raise UnreadableTable("encoding", 1, f"the file is in {name}", "Save it as CSV in UTF-8")
    if kind := file_kind(path):
        cure = "Give a CSV file" if kind.is_picture else kind.cure
        raise UnreadableTable("not_csv", 0, f"the file is {kind.name}, not CSV", cure)
    if picture := picture_in_csv_place(head):
        raise UnreadableTable("not_csv", 0, f"the file is {picture}, not CSV", "Give a CSV file")
    if b"\0" in head:
        if not head.strip(b"\0"):
            refuse_zeros(path)
        if wide := wide_encoding(head):
            raise UnreadableTable("encoding", 1, f"the file is in {wide}", "Save it as CSV in UTF-8")
        if not is_text(head.replace(b"\0", b"")):
            raise UnreadableTable("encoding", 1, "the file is not text (it has NUL bytes)", "Save it as CSV in UTF-8")
        refuse_zeros(path)
    if SHIFT_SEQUENCE.search(head):
        raise UnreadableTable("encoding", 1, "the file is in ISO 2022 (such as ISO-2022-JP)", SAVE_AS_UTF8)
    if found := written_in_ascii(path):
        what = f"the text is in {found[0]}, which writes other letters as signs of ASCII, first in this line"
        raise UnreadableTable("encoding", found[1], what, SAVE_AS_UTF8)


def refuse_pipes(path: Path) -> None:
    """Raise UserError for what is there but can be read only once, such as `<(zcat a.csv.gz)` of a shell."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: is a pipe or a device, not a file. Write its content to a file, and give that.")


def refuse_zeros(path: Path) -> None:
    """Raise UnreadableTable for a text with zero bytes, which no editor shows."""
    if line := first_zero_line(path):
        what = "this line has zero bytes, as in a file whose download or copy was cut short"
        raise UnreadableTable("encoding", line, what, "Get the file again")


def wide_encoding(head: bytes) -> str:
    """UTF-32 or UTF-16 if a file without a byte order mark begins with text in it, else ""."""
    for encoding in ("utf-32-le", "utf-32-be"):
        try:
            head[: len(head) // 4 * 4].decode(encoding)
            return "UTF-32"
        except UnicodeDecodeError:
            pass
    low, high = head[::2].count(0), head[1::2].count(0)  # one of each letter's two bytes is 0 in ASCII
    return "UTF-16" if max(low, high) > 10 * min(low, high) and 8 * max(low, high) > len(head) else ""


def read_records(path: Path, encoding: str) -> Iterator[Record]:
    """The records of a CSV file, the header first; empty lines are skipped, and records of empty cells above it.

    Raises UnreadableTable for broken quoting and for cells longer than the csv module's limit.
    """
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, strict=True)
        begun = False
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "field limit" in str(error):
                    what = f"a cell is longer than {csv.field_size_limit():,} characters; reading stopped here"
                    cure = "Shorten it, or close its quotation mark if it includes the lines below"
                    raise UnreadableTable("cell_too_long", line, what, cure) from None
                what = f"a quotation mark is not closed, or is inside a cell ({error}); reading stopped here"
                cure = 'Put the cell in "…" and double the quotation marks inside it'
                raise UnreadableTable("quoting", line, what, cure) from None
            if begun or not is_blank(cells):
                begun = True
                if cells:
                    yield line, cells


def is_blank(cells: Sequence[str]) -> bool:
    """Whether a record has nothing in it that one could see, as the rows that were emptied in Excel."""
    return not any(cell.strip().strip(INVISIBLE).strip() for cell in cells)


@dataclass(frozen=True)
class Shape:
    """How the records of a file lie under its header.

    `width` is the number of columns, without those at the end that have neither a name nor a filled cell. `most` is how
    many cells a record may have, if those beyond `width` are empty. `rows` counts the records with something in them,
    `blank` the others; `first_blank` is the line of the first such. `headers` are the lines that repeat the header.
    """

    width: int
    most: int
    rows: int
    blank: int
    first_blank: int
    headers: tuple[int, ...] = ()

    def fit(self, cells: list[str]) -> list[str] | None:
        """The `width` cells of a record; None if it has too few, too many, or filled ones beyond the header."""
        if len(cells) == self.width:
            return cells
        if len(cells) > self.width and len(cells) <= self.most and is_blank(cells[self.width :]):
            return cells[: self.width]
        return None


def survey(header: Sequence[str], records: Iterable[Record]) -> Shape:
    """Look through all `records` of a file. Raises UnreadableTable if a stray quotation mark makes one of several."""
    named = max((place for place, name in enumerate(header, start=1) if name.strip()), default=0)
    filled, rows, blanks, headers = named, 0, [], []
    spare: Counter[int] = Counter()
    for line, cells in records:
        if is_blank(cells):
            blanks.append(line)
            continue
        if cells == header:
            headers.append(line)
            continue
        rows += 1
        refuse_joined(line, cells)
        if len(cells) > named:
            last = max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)
            filled = max(filled, min(last, len(header)))
        spare[max(0, len(cells) - len(header))] += 1
    usual = spare.most_common(1)[0][0] if spare else 0
    return Shape(filled, len(header) + usual, rows, len(blanks), blanks[0] if blanks else 0, tuple(headers))


def refuse_joined(line: int, cells: Sequence[str]) -> None:
    """Raise UnreadableTable if a cell holds the end of one record, a line break and the beginning of another.

    Two stray quotation marks, each in another record, do this: the cells between them become one. Then the cell's
    first line has the commas that the first record lacks, its last line those that come before the cell in the second,
    and the second begins with an id like the first's, or goes on with a file name like the first's.
    """
    for place, cell in enumerate(cells):
        lines = cell.splitlines() if "\n" in cell or "\r" in cell else []
        if len(lines) < 2 or lines[0].count(",") != len(cells) - 1 - place or lines[-1].count(",") != place:
            continue
        first = cells[0] if place else lines[0].split(",")[0]
        suffixes = {Path(name).suffix for name in (cells[1], lines[-1].split(",")[1])} if place > 1 else {""}
        if are_kin(first, lines[-1].split(",")[0]) or (len(suffixes) == 1 and suffixes != {""}):
            below = f"{len(lines) - 1} line{'s' * (len(lines) > 2)} below"
            what = f"a quotation mark that opens in this line closes {below}, in another row"
            cure = "Remove the two quotation marks, or close each cell in its own line"
            raise UnreadableTable("quoting", line, what, cure)


def are_kin(one: str, other: str) -> bool:
    """Whether two texts may be ids of one table: equal but for digits, or words of one length."""
    if re.sub(r"\d+", "0", one) == re.sub(r"\d+", "0", other):
        return True
    return len(one) == len(other) and not re.search(r"\s", one + other)


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """A CSV's header and its records, all strings, as validate_tables reads them; empty lines are skipped."""
    try:
        records = list(read_records(path, detect_encoding(path)))
        shape = survey(records[0][1], records[1:]) if records else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except UnreadableTable as fault:
        line = f" line {fault.line}" if fault.line else ""
        raise UserError(f"{path}{line}: {fault}.") from None
    if shape is None:
        raise UserError(f"{path}: is empty. Give a CSV with a header line.")
    rows = []
    for line, cells in records[1:]:
        if cells == records[0][1]:
            continue
        fitting = shape.fit(cells)
        if fitting is not None:
            rows.append(fitting)
        elif not is_blank(cells):
            what = f"the row has {len(cells)} fields, the header {shape.width}"
            raise UserError(f"{path} line {line}: {what}. Correct it.")
    return records[0][1][: shape.width], [row for row in rows if not is_blank(row)]
