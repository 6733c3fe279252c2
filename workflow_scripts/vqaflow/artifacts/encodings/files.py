"""Looking through a file's bytes: where they are not of an encoding, and what of them shows which one it is."""

import codecs
import re
from pathlib import Path

from vqaflow.artifacts.encodings.east_asia import COMMON_SYLLABLES, KOREAN_SIGNS, LEAST_COMMON, row_weight

BLOCK = 1 << 20
EVIDENCE = 1 << 18  # bytes of lines with non-ASCII text that are judged
HZ = re.compile(rb"~\{(?:[!-w][!-~])+~\}")
UTF_7 = re.compile(rb"\+[A-Za-z0-9+/]+")
LEAST_DECODED = 2  # characters of a text in UTF-7; fewer may be chance
IN_USE = ("gb2312", 0xA0, (1, 9), (16, 87))  # hanzi, kana, Greek and Cyrillic
WESTERN = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœŠšŽž€‚„…‘’“”•–—¡¿«»°±²³·£§©®½¼×")
USED_SIGNS = COMMON_SYLLABLES | WESTERN | KOREAN_SIGNS | set("ĄąĆćĘęŁłŃńŚśŹźŻżČčĎďĚěŇňŘřŤťŮůŐőŰűĞğİıŞşĂăĐđ")


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
            except UnicodeError:  # UTF-16 or UTF-32 without a byte order mark
                return line
            if not block:
                return None
            line += block.count(b"\n")


def first_zero_line(path: Path) -> int | None:
    """The line of the first zero byte, or None."""
    line = 1
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if (at := block.find(b"\0")) >= 0:
                return line + block.count(b"\n", 0, at)
            line += block.count(b"\n")
    return None


def ends_within_character(path: Path) -> bool:
    """Whether a file of UTF-8 ends with the first bytes of a character."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4))
        tail = file.read()
    start = max(tail.rfind(lead) for lead in (bytes([byte]) for byte in range(0xC2, 0xF5)))
    if start < 0:
        return False
    try:
        tail[start:].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False


def evidence(path: Path, until: int | None = None) -> bytes:
    """The first lines of a file that are not ASCII, up to a limit and before line `until`."""
    found = bytearray()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if len(found) >= EVIDENCE or number == until:
                break
            if not line.isascii():
                found += line
    return bytes(found)


def is_mostly_utf8(data: bytes) -> bool:
    """Whether text is UTF-8 but for some bytes: other encodings hardly ever give a sequence of three bytes or more."""
    text = data.decode("utf-8", errors="replace")
    found = sum(c >= "\u0800" for c in text)
    broken = text.count("\ufffd")
    return 2 * broken <= found


def written_in_ascii(path: Path) -> tuple[str, int] | None:
    """UTF-7 or HZ, whose files have only signs of ASCII, and the line that shows it first; None for other files.

    A plus sign and letters may be a text of their own, as in ``A+B``: a file is in UTF-7 only if all of it can be, and
    if what it then says are characters that are in use.
    """
    first, found = 0, ""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.isascii():
                return None
            if HZ.search(line):
                return "HZ (Chinese)", number
            for part in re.findall(rb"\+(?!-)[^-\s,]*", line):
                if not (encoded := UTF_7.match(part)):
                    return None
                first, found = first or number, found + _decoded(encoded[0])
    used = sum(c in USED_SIGNS or row_weight(c, *IN_USE) == 1 for c in found)
    return ("UTF-7", first) if len(found) >= LEAST_DECODED and used >= LEAST_COMMON * len(found) else None


def _decoded(part: bytes) -> str:
    """What a part of a text says in UTF-7; U+FFFF if it is a word, or if an encoder would have written it otherwise."""
    try:
        text = part.decode("utf-7")
    except UnicodeDecodeError:
        return "\uffff"
    is_word = part[1:].islower() or text.isascii()
    return "\uffff" if is_word or part not in text.encode("utf-7") else text
