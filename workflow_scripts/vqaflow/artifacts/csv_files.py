"""Reading the user's CSV files as they are: every cell a string, record by record, whatever the encoding."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vqaflow.artifacts.encodings.east_asia import is_korean
from vqaflow.artifacts.encodings.files import (
    ends_within_character,
    evidence,
    first_undecodable_line,
    first_zero_line,
    is_mostly_utf8,
    written_in_ascii,
)
from vqaflow.artifacts.encodings.guesses import Guess, likely_encodings
from vqaflow.artifacts.encodings.names import codec_of, is_in_ascii, is_wide
from vqaflow.artifacts.file_kinds import HEAD, file_kind, is_text, picture_in_csv_place
from vqaflow.runtime.errors import UserError

Record = tuple[int, list[str]]  # the line that the record starts at, from 1, and its cells
BYTE_ORDER_MARKS = {  # UTF-32's little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
NO_SPACES = "Remove the spaces around the commas"
SHIFTED = {b"\x1b$@": "iso2022_jp", b"\x1b$B": "iso2022_jp", b"\x1b$)C": "iso2022_kr"}
SHIFT_SEQUENCE = re.compile(rb"\x1b\$[@BAC()]")  # ISO-2022-JP, -KR and -CN write their text as ASCII after an escape
INVISIBLE = "\u200b\ufeff\x1a"  # what copied cells, byte order marks and old editors (Ctrl-Z) leave
SAVE_IT = "Save it as CSV in UTF-8"
SAVE_AS_UTF8 = "Save the file as CSV in UTF-8"


class UnreadableTable(UserError):
    """A CSV file that cannot be read from `line` on (0: the file as a whole).

    `codec` is the encoding that it is likely in, if it is none of those accepted; "?" if it is not known.
    """

    def __init__(self, kind: str, line: int, what: str, cure: str, codec: str = "") -> None:
        super().__init__(f"{what}. {cure}")
        self.kind, self.line, self.what, self.cure, self.codec = kind, line, what, cure, codec

    @property
    def cure_or_key(self) -> str:
        """The cure for a table of the configuration, which may name its encoding."""
        if not self.codec:
            return self.cure
        key = f"set data.encoding: {self.codec}" if self.codec != "?" else "name its encoding in data.encoding"
        return f"{self.cure}, or {key}"


def detect_encoding(path: Path, given: str | None = None) -> str:
    """Name the encoding of a text file: ``utf-8-sig`` (with or without a byte order mark), ``cp949``, or `given`.

    A file that decodes as UTF-8 is UTF-8 (text in another encoding practically never does). Any other file is in the
    `given` encoding if there is one. Without it, a file that decodes as CP949 is CP949 if it reads as Korean, and
    everything else is refused, not guessed: the message names what it may be.
    """
    codec = (codec_of(given) or given) if given else ""
    if is_wide(codec) and not has_zeros(path):
        codec = ""  # such as a sample submission in ASCII beside tables in UTF-16
    refuse_other_kinds(path, codec)
    if is_wide(codec):
        return decodable(path, codec)
    refuse_zeros(path)
    bad_line = first_undecodable_line(path, "utf-8")
    if bad_line is None:
        in_ascii = is_in_ascii(codec) and first_undecodable_line(path, "ascii") is None
        return decodable(path, codec) if in_ascii else "utf-8-sig"
    return decodable(path, codec) if codec else korean_encoding(path, bad_line)


def decodable(path: Path, codec: str) -> str:
    """The user's encoding `codec`. Raises UnreadableTable if the file is not in it."""
    line = first_undecodable_line(path, codec)
    if line is None:
        return codec
    if codec in ("utf-16", "utf-32") and line == 1:
        cure = f"Set data.encoding to {codec}-le (or {codec}-be)"
        raise UnreadableTable("encoding", line, f"the file may lack the byte order mark of {codec}", cure)
    found = evidence(path)
    korean = is_korean(found.decode("cp949", errors="ignore")) and not is_mostly_utf8(found)
    likely = [Guess("cp949", "CP949 (Korean)", 1.0)] if korean else likely_encodings(found, path.stat().st_size)
    likely = [guess for guess in likely if guess.codec != codec]
    seen = f"; the text looks like {named(likely)}" if likely else ""
    what = f"this line has a byte that is not of the encoding {codec}, which data.encoding names{seen}"
    cure = "Correct the line or the key"
    raise UnreadableTable("encoding", line, what, cure, likely[0].codec if likely else "")


def korean_encoding(path: Path, bad_line: int) -> str:
    """``cp949`` for a file that is not UTF-8, first in `bad_line`. Raises UnreadableTable if it is not Korean."""
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
    likely = likely_encodings(found, path.stat().st_size)
    other = f"looks like {named(likely)}" if likely else "is in an unknown encoding"
    what = f"the text is neither UTF-8 nor Korean in CP949; it {other}. This line has the first byte that is not UTF-8"
    raise UnreadableTable("encoding", bad_line, what, SAVE_AS_UTF8, likely[0].codec if likely else "?")


def named(likely: Sequence[Guess]) -> str:
    """Encodings for a message, the likeliest first."""
    first, *others = [guess.name for guess in likely]
    return first + (f", or else {' or '.join(others)}" if others else "")


def has_zeros(path: Path) -> bool:
    """Whether the beginning of a file has zero bytes, as text in UTF-16 and UTF-32 does."""
    refuse_pipes(path)
    with path.open("rb") as file:
        return b"\0" in file.read(HEAD)


def refuse_other_kinds(path: Path, codec: str = "") -> None:
    """Raise UnreadableTable for a file that is not text, or that is text of another kind than CSV.

    Text in the encoding `codec` passes.
    """
    refuse_pipes(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if is_wide(codec):
        return
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            raise UnreadableTable("encoding", 1, f"the file is in {name}", SAVE_IT, name.lower())
    if kind := file_kind(path):
        cure = "Give a CSV file" if kind.is_picture else kind.cure
        raise UnreadableTable("not_csv", 0, f"the file is {kind.name}, not CSV", cure)
    if picture := picture_in_csv_place(head):
        raise UnreadableTable("not_csv", 0, f"the file is {picture}, not CSV", "Give a CSV file")
    if b"\0" in head:
        if not head.strip(b"\0"):
            refuse_zeros(path)
        if wide := wide_encoding(head):
            raise UnreadableTable("encoding", 1, f"the file is in {wide[:6]}", SAVE_IT, wide.lower())
        if not is_text(head.replace(b"\0", b"")):
            raise UnreadableTable("encoding", 1, "the file is not text (it has NUL bytes)", SAVE_IT)
        refuse_zeros(path)
    if is_in_ascii(codec):
        return
    if SHIFT_SEQUENCE.search(head):
        likely = next((codec for mark, codec in SHIFTED.items() if mark in head), "?")
        what = "the file is in ISO 2022 (such as ISO-2022-JP)"
        raise UnreadableTable("encoding", 1, what, SAVE_AS_UTF8, likely)
    if found := written_in_ascii(path):
        what = f"the text is in {found[0]}, which writes other letters as signs of ASCII, first in this line"
        raise UnreadableTable("encoding", found[1], what, SAVE_AS_UTF8, found[0].split()[0].lower())


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
    """UTF-32 or UTF-16, with its order of bytes, if a file without a mark of it begins with text in it, else ""."""
    for encoding in ("utf-32-le", "utf-32-be"):
        try:
            head[: len(head) // 4 * 4].decode(encoding)
            return encoding.upper()
        except UnicodeDecodeError:
            pass
    low, high = head[::2].count(0), head[1::2].count(0)  # one of each letter's two bytes is 0 in ASCII
    name = "UTF-16-BE" if low > high else "UTF-16-LE"
    return name if max(low, high) > 10 * min(low, high) and 8 * max(low, high) > len(head) else ""


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
                if spaced := spaces_at_quotes(path, encoding, line):
                    what = f"quoted cells have spaces beside their commas ({spaced}); reading stopped here"
                    raise UnreadableTable("separator", line, what, NO_SPACES) from None
                what = f"a quotation mark is not closed, or is inside a cell ({error}); reading stopped here"
                cure = 'Put the cell in "…" and double the quotation marks inside it'
                raise UnreadableTable("quoting", line, what, cure) from None
            if begun or not is_blank(cells):
                begun = True
                if cells:
                    yield line, cells


def spaces_at_quotes(path: Path, encoding: str, line: int) -> str:
    """The spaces, comma and quotation marks between two cells of a line, if there are such; else ""."""
    with path.open(encoding=encoding, newline="") as file:
        text = next(islice(file, line - 1, None), "")
    found = re.search(r'"[ \t]+,[ \t]*"?|"?,[ \t]+"', text)
    return found[0] if found else ""


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
    """Look through all `records` of a file. Raises UnreadableTable if a stray quotation mark makes one of several.

    It also raises it if all cells begin with a space: ids and paths would be others than they look like.
    """
    spaced = all(name.startswith(" ") for name in header[1:]) and len(header) > 1
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
        spaced = spaced and all(cell.startswith(" ") for cell in cells[1:])
        refuse_joined(line, cells)
        if len(cells) > named:
            last = max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)
            filled = max(filled, min(last, len(header)))
        spare[max(0, len(cells) - len(header))] += 1
    if spaced and rows:
        mark = " , " if header[0].endswith(" ") else ", "
        raise UnreadableTable("separator", 1, f"the cells are separated by {mark!r}, not by commas alone", NO_SPACES)
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


def read_csv(path: Path, encoding: str | None = None) -> tuple[list[str], list[list[str]]]:
    """A CSV's header and its records, all strings, as validate_tables reads them; empty lines are skipped.

    A file that is not UTF-8 is in the `encoding`, if there is one.
    """
    try:
        records = list(read_records(path, detect_encoding(path, encoding)))
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
