"""Damage that decoders do not report, or that they refuse where most of the picture is there.

Shapes: H height and W width in pixels, C colours.
"""

import io
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from vqaflow.data.images.pixels import PixelProblem

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_NOTES = {b"iCCP", b"tEXt", b"zTXt", b"iTXt"}  # metadata that Pillow decompresses up to a limit
EXIF_NOTE = b"Raw profile type exif"  # a text that may hold the orientation
LARGEST_EXIF_NOTE = 1 << 16
MOST_NOTES = 1 << 26  # bytes that a PNG's metadata may have when decompressed; more is a bomb
MOST_LACKING = 4  # times the bytes that are there; more is a damaged length
START_OF_JPEG, END_OF_JPEG = b"\xff\xd8\xff", b"\xff\xd9"
END_OF_PNG = b"IEND"
HOLE = 256  # zero bytes in a row that compressed data do not have
LARGE_HOLE = 4096  # as HOLE, for JPEG 2000, which writes a zero byte for an empty packet, and JPEGs of flat pictures
DISK_BLOCK = 512


class _Decoding:
    """Decoders run side by side, but one that accepts incomplete files runs alone: Pillow's switch is global."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self.changed:
            self.running += 1
        try:
            yield
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: self.running == 0)
            ImageFile.LOAD_TRUNCATED_IMAGES = True
            try:
                yield
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = False


decoding = _Decoding()


def has_large_notes(error: Exception) -> bool:
    """Whether Pillow refuses a PNG because of its metadata."""
    return "too large for PngImagePlugin" in str(error) or "Too much memory used in text chunks" in str(error)


def without_notes(data: bytes) -> bytes:
    """A PNG without its texts and its colour profile, which its pixels do not depend on here.

    Raises PixelProblem if they are a decompression bomb.
    """
    kept = [PNG_SIGNATURE]
    at, size = len(PNG_SIGNATURE), 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at : at + 12 + length]
        is_exif = chunk[8 : 8 + len(EXIF_NOTE)] == EXIF_NOTE and length < LARGEST_EXIF_NOTE
        if kind not in PNG_NOTES or is_exif:
            kept.append(chunk)
        elif kind != b"tEXt":  # which is not compressed
            size += _decompressed_size(chunk[8:-4], MOST_NOTES - size)
        if size > MOST_NOTES:
            what = f"its metadata (texts or colour profile) have more than {MOST_NOTES:,} bytes"
            raise PixelProblem(what, "Save the image without them")
        at += 12 + length
    return b"".join(kept)


def _decompressed_size(note: bytes, most: int) -> int:
    """The bytes of a note's text, at most a little more than `most`; its own if it is not compressed."""
    start = note.find(b"\x78")  # how a stream of zlib begins
    while start >= 0:
        stream, size, rest = zlib.decompressobj(), 0, note[start:]
        try:
            while rest and size <= most:
                size += len(stream.decompress(rest, 1 << 20))
                rest = stream.unconsumed_tail
            return size
        except zlib.error:
            start = note.find(b"\x78", start + 1, 512)
    return len(note)


def completed(data: bytes) -> io.BytesIO | None:
    """A file's bytes with an end in place of that which it lacks, for a decoder that then gives what is there.

    None if it is of a format whose decoder needs no end, or gives nothing.
    """
    if data.startswith(START_OF_JPEG):
        return io.BytesIO(data + END_OF_JPEG)
    lacking = lacking_bytes(data)
    return io.BytesIO(data + bytes(lacking)) if 0 < lacking < MOST_LACKING * len(data) else None


def is_cut(data: bytes) -> bool:
    """Whether a file is shorter than it says itself, or lacks the end that its format has."""
    if data.startswith(PNG_SIGNATURE):
        return END_OF_PNG not in data[-64:]
    return lacking_bytes(data) > 0


def lacking_bytes(data: bytes) -> int:
    """How many bytes a WebP, AVIF or JPEG 2000 file lacks, by the lengths in it; 0 for other formats."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return max(0, 8 + int.from_bytes(data[4:8], "little") - len(data))
    if data[4:8] not in (b"ftyp", b"jP  "):
        return 0
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if length < 8:  # to the end of the file, or a length of 64 bits
            return 0
        at += length
    return max(0, at - len(data))


def blank_share(image: Image.Image) -> float:
    """The share of rows at the bottom of a picture (of a BMP's, at its top) that have one colour, as missing ones."""
    rows_HWC = np.asarray(image)
    shares = []
    for rows in (rows_HWC[::-1], rows_HWC):
        same = (rows == rows[0, 0]).all(axis=(1, 2))
        shares.append(1.0 if same.all() else float(np.argmin(same)) / len(same))
    return max(shares)


def hole(path: Path | str, image_format: str) -> tuple[int, int] | None:
    """Where a compressed picture's data are zero bytes, as in a file whose download or copy was cut short.

    Decoders take them for data. Returns the first and the last byte's offset; None if there is no such place.
    """
    data = Path(path).read_bytes()
    regions, least = _compressed_regions(data, image_format)
    for start, end in regions:
        at = data.find(bytes(least), start, end)
        if at < 0:
            continue
        while at > start and data[at - 1] == 0:
            at -= 1
        stop = at + len(data[at:end]) - len(data[at:end].lstrip(b"\0"))
        if least == HOLE or image_format == "JPEG2000" or stop == end or _is_on_blocks(at, stop):
            return at, stop - 1
    return None


def zero_end(path: Path | str) -> float:
    """The share of a file's bytes that are zeros without a break up to its end."""
    data = Path(path).read_bytes()
    return 1 - len(data.rstrip(b"\0")) / len(data)


def _is_on_blocks(start: int, stop: int) -> bool:
    """Whether a run of zeros begins and ends at blocks of a disk, but for zeros that the data had there by chance."""
    return -start % DISK_BLOCK <= 8 and stop % DISK_BLOCK <= 8


def _compressed_regions(data: bytes, image_format: str) -> tuple[list[tuple[int, int]], int]:
    """The parts of a file that are compressed, and how many zero bytes in a row they cannot have."""
    if image_format == "JPEG":
        return _jpeg_scans(data)
    if image_format == "WEBP":
        return list(_webp_pictures(data)), HOLE
    if image_format == "AVIF":
        at = data.find(b"mdat")
        return ([(at + 4, at - 4 + int.from_bytes(data[at - 4 : at]))] if at >= 4 else []), HOLE
    if image_format == "JPEG2000":
        at = data.find(b"\xff\x93")  # the start of the first tile's data
        return ([(at, len(data))] if at >= 0 else []), LARGE_HOLE
    return [], HOLE


def _webp_pictures(data: bytes) -> Iterator[tuple[int, int]]:
    """The compressed pictures of a WebP file; animations, whose frames hold chunks of their own, are left out."""
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] in (b"VP8 ", b"VP8L"):
            yield at + 8, min(at + 8 + length, len(data))
        at += 8 + length + length % 2


def _jpeg_scans(data: bytes) -> tuple[list[tuple[int, int]], int]:
    """From the first scan to the end of the picture; and whether its Huffman codes allow long runs of zeros.

    They do where the code of only zeros means "no change" in each table, as in optimised files of flat pictures.
    """
    at, first_symbols = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xC4:
            first_symbols += _first_symbols(data[at + 4 : at + 2 + length])
        if marker == 0xDA:
            break
        at += 1 if marker == 0xFF else 2 + length
    else:
        return [], HOLE
    end = data.find(END_OF_JPEG, at)
    flat = all(symbol == 0 if table < 16 else symbol & 15 == 0 for table, symbol in first_symbols)
    return [(at, len(data) if end < 0 else end)], LARGE_HOLE if flat else HOLE


def _first_symbols(tables: bytes) -> Iterator[tuple[int, int]]:
    """Class and number of each Huffman table of a segment (AC from 16 on), and the symbol whose code has only zeros."""
    at = 0
    while at + 17 < len(tables):
        yield tables[at], tables[at + 17]
        at += 17 + sum(tables[at + 1 : at + 17])
