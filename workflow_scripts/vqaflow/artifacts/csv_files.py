"""Reading the user's CSV files as they are: every cell a string, record by record, whatever the encoding."""

import codecs
import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from vqaflow.runtime.errors import UserError

BLOCK = 1 << 20
Record = tuple[int, list[str]]  # the line that the record starts at, from 1, and its cells


class UnreadableTable(UserError):
    """A CSV file that cannot be read from `line` on (0: the file as a whole)."""

    def __init__(self, kind: str, line: int, what: str, cure: str) -> None:
        super().__init__(f"{what}. {cure}")
        self.kind, self.line, self.what, self.cure = kind, line, what, cure


def detect_encoding(path: Path) -> str:
    """Name the encoding of a text file, ``utf-8-sig`` (with or without a byte order mark) or ``cp949``.

    A file that decodes as UTF-8 is UTF-8 (Korean text in CP949 practically never does). Otherwise a file that decodes
    as CP949 is CP949 if at least half of the non-ASCII characters in its first block are in KS X 1001 (all common
    Korean; Western text misread as CP949 gives rare syllables). Everything else is refused, not guessed.
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
        what = "the text is CP949 up to this line, which has a byte that is not CP949"
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

    Raises UnreadableTable for broken quoting and for cells longer than the csv module's limit.
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
                    what = f"a cell is longer than {csv.field_size_limit():,} characters; reading stopped here"
                    cure = "Shorten it, or close its quotation mark if it includes the lines below"
                    raise UnreadableTable("cell_too_long", line, what, cure) from None
                what = f"a quotation mark is not closed, or is inside a cell ({error}); reading stopped here"
                cure = 'Put the cell in "…" and double the quotation marks inside it'
                raise UnreadableTable("quoting", line, what, cure) from None
            if cells:
                yield line, cells


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """A CSV's header and its records, all strings, as validate_tables reads them; empty lines are skipped."""
    try:
        rows = [cells for _, cells in read_records(path, detect_encoding(path))]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
    except UnreadableTable as fault:
        raise UserError(f"{path} line {fault.line}: {fault}.") from None
    if not rows:
        raise UserError(f"{path}: is empty. Give a CSV with a header line.")
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise UserError(f"{path}: record {number} has {len(row)} fields, the header {len(header)}. Correct it.")
    return header, rows[1:]
