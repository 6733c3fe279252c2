"""Odd, broken and malicious picture files, made by code: the colours that a viewer shows, or one message."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from vqaflow.data.images.decoding import ImageProblem, inspect_image, open_image

LIMIT = 1_000_000
RED, BLUE = (200, 30, 40), (20, 40, 210)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
SIZE = (40, 30)  # the left half is RED, the right half is BLUE
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TURNED = {2: "BR", 3: "BR", 4: "RB", 5: "RB", 6: "RB", 7: "BR", 8: "BR"}


def halves(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    made = Image.new("RGB", size, RED)
    made.paste(BLUE, (size[0] // 2, 0, *size))
    return made.convert(mode)


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or halves()).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes, end: bool = True) -> bytes:
    """A PNG of raw scanlines, each with its filter byte."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows)) if rows else b""
    return SIGNATURE + head + b"".join(chunks) + pixels + (chunk(b"IEND", b"") if end else b"")


def scanlines(row: bytes, height: int = 8) -> bytes:
    return (b"\0" + row) * height


def inserted(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks right behind its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def tiff(tags: dict[int, int], data: bytes, next_folder: int = 0) -> bytes:
    """A TIFF with one folder of `tags`, each one long number, and the pixels at byte 400."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_folder)
    return head.ljust(400, b"\0") + data


def grey_tiff(bits: int, data: bytes, width: int = 8, height: int = 8, **more: int) -> bytes:
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 400, 277: 1, 278: height, 279: len(data)}
    return tiff(tags | {int(key[1:]): value for key, value in more.items()}, data)


def exif_jpeg(block: bytes) -> bytes:
    """A JPEG with this EXIF block."""
    data = saved("JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + data[2:]


def orientation(kind: int, count: int, value: bytes, next_folder: int = 0) -> bytes:
    """A folder of EXIF with one entry: the orientation."""
    entry = struct.pack(">HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", next_folder)


def turned(value: int) -> bytes:
    return exif_jpeg(orientation(3, 1, struct.pack(">H", value)))


def jpeg_with_size(width: int, height: int, precision: int = 8) -> bytes:
    """A JPEG whose header says another size."""
    data = saved("JPEG")
    at = data.index(b"\xff\xc0")
    return data[: at + 4] + bytes([precision]) + struct.pack(">HH", height, width) + data[at + 9 :]


def animated(kind: str, **options: object) -> bytes:
    other = Image.new("RGB", SIZE, (0, 255, 0))
    return saved(kind, halves(), save_all=True, append_images=[other, other], duration=50, **options)


def palette_png(transparent: bytes | None = None) -> bytes:
    chunks = [chunk(b"PLTE", bytes([*RED, *BLUE]))] + ([chunk(b"tRNS", transparent)] if transparent else [])
    return png(8, 8, 8, 3, scanlines(bytes([0, 0, 0, 0, 1, 1, 1, 1])), *chunks)


def cmyk(adobe: bool) -> bytes:
    """A CMYK JPEG as Pillow writes it (inverted, with Adobe's marker), or without the marker."""
    data = saved("JPEG", halves("CMYK"), quality=95)
    if adobe:
        return data
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]


def bmp(bits: int, data: bytes, height: int = 2, compression: int = 0, palette: bytes = b"", width: int = 2) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


def exif_png(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return saved("PNG", exif=exif)


def notes(kind: str, size: int) -> bytes:
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("note", "x" * size, zip=True)
    else:
        info.add_text("note", "x" * size, zip=kind == "zTXt")
    return saved("PNG", pnginfo=info)


GREY_16 = np.repeat(np.array([0, 65535], dtype=">u2"), 4).tobytes()
GREY_12 = bytes.fromhex("000000000000" + "ffffffffffff") * 8
# What the left and the right end of the middle row show.
SHOWN: dict[str, tuple[Callable[[], bytes], tuple, tuple]] = {
    "jpeg": (lambda: saved("JPEG", quality=95), RED, BLUE),
    "jpeg progressive": (lambda: saved("JPEG", quality=95, progressive=True), RED, BLUE),
    "jpeg grey": (lambda: saved("JPEG", Image.new("L", SIZE, 99), quality=95), (99,) * 3, (99,) * 3),
    "jpeg cmyk": (lambda: cmyk(adobe=True), RED, BLUE),
    "jpeg 4:2:0": (lambda: saved("JPEG", quality=95, subsampling=2), RED, BLUE),
    "jpeg with a zip behind it": (lambda: saved("JPEG", quality=95) + b"PK\x03\x04" + bytes(50), RED, BLUE),
    "jpeg with large comments": (lambda: saved("JPEG", quality=95, comment=b"x" * 65_000), RED, BLUE),
    "jpeg with broken profile": (lambda: saved("JPEG", quality=95, icc_profile=b"no profile" * 9000), RED, BLUE),
    "jpeg of several pictures": (lambda: saved("MPO", save_all=True, append_images=[halves()], quality=95), RED, BLUE),
    **{f"exif {n}": (lambda n=n: turned(n), *((RED, BLUE) if n == 1 else (None, TURNED[n]))) for n in range(1, 9)},
    "exif 0": (lambda: turned(0), RED, BLUE),
    "exif 9": (lambda: turned(9), RED, BLUE),
    "exif 65535": (lambda: turned(65535), RED, BLUE),
    "exif orientation as text": (lambda: exif_jpeg(orientation(2, 4, b"six\0")), RED, BLUE),
    "exif orientation as a fraction by zero": (
        lambda: exif_jpeg(orientation(5, 1, struct.pack(">I", 26)) + bytes(8)),
        RED,
        BLUE,
    ),
    "exif of unknown type": (lambda: exif_jpeg(orientation(99, 1, b"\0\6")), RED, BLUE),
    "exif of too many values": (lambda: exif_jpeg(orientation(3, 0xFFFFFFFF, b"\0\6")), RED, BLUE),
    "exif cut off": (lambda: exif_jpeg(orientation(3, 1, b"\0\6")[:13]), RED, BLUE),
    "exif that names itself as the next folder": (
        lambda: exif_jpeg(orientation(3, 1, b"\0\1", next_folder=8)),
        RED,
        BLUE,
    ),
    "exif of noise": (lambda: exif_jpeg(bytes(range(256)) * 8), RED, BLUE),
    "exif empty": (lambda: exif_jpeg(b""), RED, BLUE),
    "exif in a png": (lambda: exif_png(3), BLUE, RED),
    "png": (lambda: saved("PNG"), RED, BLUE),
    "png of 1 bit": (lambda: png(8, 8, 1, 0, scanlines(b"\x0f")), BLACK, WHITE),
    "png of 2 bits": (lambda: png(8, 8, 2, 0, scanlines(b"\x00\xff")), BLACK, WHITE),
    "png of 4 bits": (lambda: png(8, 8, 4, 0, scanlines(b"\x00\x00\xff\xff")), BLACK, WHITE),
    "png of 16 bits": (lambda: png(8, 8, 16, 0, scanlines(GREY_16)), BLACK, WHITE),
    "png of 16-bit colours": (lambda: png(2, 8, 16, 2, scanlines(bytes(6) + b"\xff" * 6)), BLACK, WHITE),
    "png grey with alpha": (lambda: png(2, 8, 8, 4, scanlines(b"\x00\xff\x00\x00")), BLACK, WHITE),
    "png palette": (lambda: palette_png(), RED, BLUE),
    "png palette with a transparent entry": (lambda: palette_png(b"\xff\x00"), RED, WHITE),
    "png palette with half transparency": (lambda: palette_png(b"\xff\x80"), RED, (137, 147, 232)),
    "png with hidden colours": (lambda: saved("PNG", with_alpha(0)), RED, BLUE),
    "apng": (lambda: animated("PNG"), RED, BLUE),
    "png interlaced": (lambda: interlaced(), (7,) * 3, (7,) * 3),
    "png without its end": (lambda: saved("PNG")[:-12], RED, BLUE),
    "png with bytes behind its end": (lambda: saved("PNG") + b"<script>" * 100, RED, BLUE),
    "png with a broken profile": (
        lambda: inserted(saved("PNG"), chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no"))),
        RED,
        BLUE,
    ),
    "png with an unknown chunk": (lambda: inserted(saved("PNG"), chunk(b"abCd", b"x" * 1000)), RED, BLUE),
    "png with a text of 2 MiB (tEXt)": (lambda: notes("tEXt", 2 << 20), RED, BLUE),
    "png with a text of 2 MiB (zTXt)": (lambda: notes("zTXt", 2 << 20), RED, BLUE),
    "png with a text of 2 MiB (iTXt)": (lambda: notes("iTXt", 2 << 20), RED, BLUE),
    "png with a text of a wrong checksum": (lambda: inserted(saved("PNG"), chunk(b"tEXt", b"a\0b", 0)), RED, BLUE),
    "gif": (lambda: saved("GIF"), RED, BLUE),
    "gif animated": (lambda: animated("GIF"), RED, BLUE),
    "gif with bytes behind its end": (lambda: saved("GIF") + b"x" * 100, RED, BLUE),
    "webp": (lambda: saved("WEBP", quality=95), RED, BLUE),
    "webp lossless": (lambda: saved("WEBP", lossless=True), RED, BLUE),
    "webp animated": (lambda: animated("WEBP", lossless=True), RED, BLUE),
    "webp with hidden colours": (lambda: saved("WEBP", with_alpha(0), lossless=True, exact=True), RED, BLUE),
    "tiff": (lambda: saved("TIFF"), RED, BLUE),
    "tiff lzw": (lambda: saved("TIFF", compression="tiff_lzw"), RED, BLUE),
    "tiff deflate": (lambda: saved("TIFF", compression="tiff_deflate"), RED, BLUE),
    "tiff jpeg": (lambda: saved("TIFF", compression="jpeg", quality=95), RED, BLUE),
    "tiff fax": (lambda: saved("TIFF", Image.new("1", SIZE, 1), compression="group4"), WHITE, WHITE),
    "tiff cmyk": (lambda: saved("TIFF", halves("CMYK")), RED, BLUE),
    "tiff of several pages": (lambda: saved("TIFF", save_all=True, append_images=[Image.new("RGB", SIZE)]), RED, BLUE),
    "tiff of 12 bits": (lambda: grey_tiff(12, GREY_12), BLACK, WHITE),
    "tiff of 16 bits": (lambda: grey_tiff(16, (bytes(8) + b"\xff" * 8) * 8), BLACK, WHITE),
    "tiff where white is zero": (lambda: grey_tiff(8, bytes(8 * 8), t262=0), WHITE, WHITE),
    "tiff that names itself as the next page": (
        lambda: tiff({256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 400, 277: 1, 278: 8, 279: 64}, b"\x07" * 64, 8),
        (7,) * 3,
        (7,) * 3,
    ),
    "tiff with an unknown tag": (lambda: grey_tiff(8, b"\x07" * 64, t60000=0xFFFFFFFF), (7,) * 3, (7,) * 3),
    "bmp": (lambda: saved("BMP"), RED, BLUE),
    "bmp of 1 bit": (lambda: saved("BMP", Image.new("1", SIZE, 1)), WHITE, WHITE),
    "bmp palette": (lambda: saved("BMP", halves("P")), None, "near"),
    "bmp from the top down": (lambda: bmp(24, bytes([9, 9, 9, 9, 9, 9, 0, 0]) * 2, height=-2), (9,) * 3, (9,) * 3),
    "bmp of 16 bits": (lambda: bmp(16, b"\xff\x7f\xff\x7f" * 2), WHITE, WHITE),
    "bmp run-length": (
        lambda: bmp(8, bytes([2, 0, 0, 0, 2, 0, 0, 1]), compression=1, palette=bytes([9, 9, 9, 0])),
        (9,) * 3,
        (9,) * 3,
    ),
    "one pixel": (lambda: saved("PNG", Image.new("RGB", (1, 1), RED)), RED, RED),
}
if features.check("avif"):
    SHOWN["avif"] = (lambda: saved("AVIF", quality=95), RED, BLUE)
    SHOWN["avif animated"] = (lambda: animated("AVIF", quality=95), RED, BLUE)
if features.check("jpg_2000"):
    SHOWN["jpeg 2000"] = (lambda: saved("JPEG2000"), RED, BLUE)


def with_alpha(alpha: int) -> Image.Image:
    made = halves("RGBA")
    made.putalpha(alpha)
    return made


def interlaced() -> bytes:
    """Adam7 of one grey: the pixels of its seven passes."""
    passes = [(1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
    rows = b"".join((b"\0" + b"\7" * width) * height for width, height in passes)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    return SIGNATURE + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# The bytes, and words of the message.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "the file is empty"),
    "one byte": (lambda: b"\x89", ""),
    "zeros": (lambda: bytes(5000), "zero"),
    "text": (lambda: b"not a picture at all\n" * 9, "the file is a text that begins with"),
    "a login page": (lambda: b"<!doctype html><html>log in</html>", "web page"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>', "SVG"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", ""),
    "pdf": (lambda: b"%PDF-1.7\n" + bytes(99), "PDF"),
    "png signature alone": (lambda: SIGNATURE, "PNG"),
    "png of no width": (lambda: png(0, 8, 8, 0, b""), ""),
    "png of no height": (lambda: png(8, 0, 8, 0, b""), ""),
    "png of a huge width": (lambda: png(0x7FFFFFFF, 1, 8, 0, b""), ""),
    "png bomb": (lambda: png(30_000, 30_000, 1, 0, b"\0" * 9), "a decompression bomb"),
    "png of an impossible depth": (lambda: png(8, 8, 3, 0, scanlines(b"\0" * 8)), ""),
    "png without pixels": (lambda: png(8, 8, 8, 0, b""), ""),
    "png without a palette": (lambda: png(8, 8, 8, 3, scanlines(b"\5" * 8))[:60], ""),
    "png with a broken header checksum": (lambda: SIGNATURE + chunk(b"IHDR", bytes(13), 1), "PNG"),
    "png text bomb": (
        lambda: inserted(saved("PNG"), *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(40 << 20)))] * 2),
        "metadata",
    ),
    "png half": (lambda: saved("PNG", noise())[:9000], "incomplete"),
    "jpeg half": (lambda: saved("JPEG", noise())[:3000], "incomplete"),
    "jpeg of no height": (lambda: jpeg_with_size(40, 0), ""),
    "jpeg of no width": (lambda: jpeg_with_size(0, 30), ""),
    "jpeg bomb": (lambda: jpeg_with_size(60_000, 60_000), "a decompression bomb"),
    "jpeg of 12 bits": (lambda: jpeg_with_size(40, 30, precision=12), ""),
    "jpeg start alone": (lambda: b"\xff\xd8\xff", "JPEG"),
    "jpeg header alone": (lambda: saved("JPEG")[:160], ""),
    "gif of no size": (lambda: b"GIF89a" + bytes(7) + b";", ""),
    "gif bomb": (
        lambda: (
            b"GIF89a"
            + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0)
            + b",\0\0\0\0"
            + struct.pack("<HHB", 60_000, 60_000, 0)
            + b"\2\0;"
        ),
        "a decompression bomb",
    ),
    "gif header alone": (lambda: saved("GIF")[:20], ""),
    "webp header alone": (lambda: b"RIFF\x10\0\0\0WEBPVP8 ", "cannot be decoded"),
    "webp half": (lambda: saved("WEBP", noise())[:3000], ""),
    "bmp of no size": (lambda: bmp(24, b"", height=0, width=0), ""),
    "bmp of a negative width": (lambda: bmp(24, bytes(16), width=-2), ""),
    "bmp bomb": (lambda: bmp(24, b"", height=60_000, width=60_000), "a decompression bomb"),
    "bmp of an unknown compression": (lambda: bmp(24, bytes(16), compression=77), ""),
    "bmp half": (lambda: saved("BMP", noise())[:9000], ""),
    "tiff of floats": (lambda: saved("TIFF", Image.new("F", SIZE, 0.5)), "no standard range of brightness"),
    "tiff of 32 bits": (lambda: saved("TIFF", Image.new("I", SIZE, 7)), "no standard range of brightness"),
    "tiff bomb": (lambda: grey_tiff(8, b"", width=60_000, height=60_000), "a decompression bomb"),
    "tiff of no size": (lambda: grey_tiff(8, b"", width=0, height=0), ""),
    "tiff without a folder": (lambda: b"II*\0\xff\xff\xff\x7f", ""),
    "tiff with broken lzw": (lambda: broken_tiff(), ""),
    "tiff of 5 bits": (lambda: grey_tiff(5, bytes(64)), ""),
    "too thin": (lambda: saved("PNG", Image.new("RGB", (900, 2))), "one side is more than 200 times the other"),
}


def noise(size: tuple[int, int] = (200, 150)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def broken_tiff() -> bytes:
    """A TIFF whose compressed pixels are noise: libtiff writes of it to the terminal if nobody stops it."""
    data = bytearray(saved("TIFF", noise(), compression="tiff_lzw"))
    data[2000:40_000] = np.random.default_rng(1).bytes(38_000)
    return bytes(data)


def is_near(pixel: tuple, wanted: tuple) -> bool:
    return all(abs(x - y) <= 12 for x, y in zip(pixel, wanted, strict=True))


@pytest.mark.parametrize("name", SHOWN)
def test_an_odd_picture_is_shown_as_a_viewer_shows_it(tmp_path, capfd, name):
    """Otherwise the model is asked about another picture than people see."""
    make, left, right = SHOWN[name]
    path = tmp_path / "odd"
    path.write_bytes(make())
    inspect_image(path, LIMIT)
    image = open_image(path)
    width, height = image.size
    if left is None and name.startswith("exif "):
        assert (width, height) == (SIZE if int(name[5:]) < 5 else SIZE[::-1])
        first, last = image.getpixel((1, 1)), image.getpixel((width - 2, height - 2))
        left, right = (RED, BLUE) if right == "RB" else (BLUE, RED)
    else:
        first, last = image.getpixel((0, height // 2)), image.getpixel((width - 1, height // 2))
    if right == "near":  # a palette of the web's colours
        assert first[0] > first[2] and last[2] > last[0]
    else:
        assert is_near(first, left) and is_near(last, right), (first, last)
    assert image.mode == "RGB" and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REFUSED)
def test_a_picture_that_cannot_be_used_is_one_message(tmp_path, capfd, name):
    make, words = REFUSED[name]
    path = tmp_path / "bad"
    path.write_bytes(make())
    with pytest.raises(ImageProblem) as error:
        inspect_image(path, LIMIT)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and words in message and message.count("\n") == 0, message
    assert error.value.cure and capfd.readouterr() == ("", ""), "a library's raw lines name no file"


@pytest.mark.parametrize("kind", ["folder", "nowhere", "link to nothing", "link to itself"])
def test_a_path_that_is_no_file_is_one_message(tmp_path, kind):
    path: Path = tmp_path / "x.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "nothing")
    elif kind == "link to itself":
        path.symlink_to(path)
    with pytest.raises(ImageProblem) as error:
        inspect_image(path, LIMIT)
    assert str(error.value).startswith(f"{path}: ") and error.value.cure
