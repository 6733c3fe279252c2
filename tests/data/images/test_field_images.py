"""Images as cameras, scanners and programs write them: what would break if one were shown wrong without a word."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vqaflow.data.images.damage import completed
from vqaflow.data.images.decoding import ACCEPT, ImageProblem, inspect_image, open_image

LIMIT = 1_000_000
RAMP = np.linspace(0, 1, 256)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, rows, depth, colour, *chunks):
    """A PNG of raw scanlines `rows`."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def tiff(width, height, bits, data, photometric=1, sample_format=1):
    """An uncompressed grey TIFF."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 200, 277: 1, 278: height, 279: len(data)}
    tags[339] = sample_format
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + data


def packed_12(values):
    """Values of 12 bits, two in three bytes."""
    pairs = np.asarray(values).reshape(-1, 2)
    triples = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
    return np.stack(triples, 1).astype(np.uint8).tobytes()


def bmp(pixels):
    """A V4 BMP of BGRA `pixels`, bottom row first."""
    height, width = pixels.shape[:2]
    data = pixels.tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = (
        struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(data), 0, 0, 0, 0) + masks + b"BGRs" + bytes(48)
    )
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(data), 0, 0, 14 + 108) + head + data


def photo(width=400, height=300, seed=0):
    small = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, image_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def grey(path):
    return np.asarray(open_image(path))[..., 0].ravel()


def problem(path, **options):
    with pytest.raises(ImageProblem) as caught:
        inspect_image(path, LIMIT, **options)
    return caught.value


def test_12_bit_greys_are_scaled_by_their_own_range(tmp_path):
    """By the range of 16 bits, a scanner's picture is nearly black: RGB 0 to 16."""
    values = np.rint(RAMP * 4095).astype(int)
    (tmp_path / "a.tif").write_bytes(tiff(256, 1, 12, packed_12(values)))
    assert np.array_equal(grey(tmp_path / "a.tif"), np.arange(256))


@pytest.mark.parametrize("bits", [12, 16])
def test_white_is_zero_in_deep_greys_too(tmp_path, bits):
    """Faxes and X-rays store white as 0; Pillow turns only shallow ones around."""
    values = np.rint(RAMP * ((1 << bits) - 1)).astype(int)
    data = packed_12(values) if bits == 12 else values.astype("<u2").tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(256, 1, bits, data, photometric=0))
    try:
        shown = grey(tmp_path / "a.tif")
    except ImageProblem as error:
        assert bits == 12 and "TIFF" in str(error) and "convert it" in error.cure
    else:
        assert np.array_equal(shown, np.arange(256)[::-1])


def test_greys_that_were_multiplied_by_their_alpha(tmp_path):
    """Pillow has a mode for them that it converts to no colour."""
    data = np.array([[100, 255], [50, 128]], np.uint8).tobytes()
    entries = {256: (4, 2), 257: (4, 1), 258: (3, 8 | 8 << 16), 259: (3, 1), 262: (3, 1), 273: (4, 200), 277: (3, 2)}
    entries |= {278: (4, 1), 279: (4, 4), 338: (3, 1)}
    counts = {258: 2}
    tags = b"".join(struct.pack("<HHII", tag, kind, counts.get(tag, 1), v) for tag, (kind, v) in entries.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + tags + bytes(4)
    (tmp_path / "a.tif").write_bytes(head.ljust(200, b"\0") + data)
    assert Image.open(tmp_path / "a.tif").mode == "La"
    assert grey(tmp_path / "a.tif").tolist() == [100, 177]


@pytest.mark.parametrize("bits", [10, 14, 32])
def test_other_depths_are_refused_with_what_to_do(tmp_path, bits):
    (tmp_path / "a.tif").write_bytes(tiff(16, 16, bits, bytes(16 * 16 * bits // 8)))
    error = problem(tmp_path / "a.tif")
    assert error.kind == "image_unreadable" and "8 or 16 bits per channel" in error.cure


def test_12_bit_values_in_16_bits_are_told(tmp_path):
    """Nobody can know that 4095 was meant to be white; nobody should train on black pictures unaware."""
    values = np.rint(RAMP * 4095).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "a.png")
    oddity = inspect_image(tmp_path / "a.png", LIMIT).oddity
    assert oddity.kind == "image_dark" and "4095 of 65535" in oddity.what
    Image.fromarray(values * 16).save(tmp_path / "b.png")
    assert inspect_image(tmp_path / "b.png", LIMIT).oddity is None


def test_12_bit_colours_in_16_bits_are_told(tmp_path):
    values = np.rint(np.linspace(0, 4095, 48)).astype(">u2").reshape(4, 4, 3)
    for name, scale, kinds in (("a.png", 1, ["image_dark"]), ("b.png", 16, [])):
        (tmp_path / name).write_bytes(png(4, [row.tobytes() for row in (values * scale).astype(">u2")], 16, 2))
        assert [oddity.kind for oddity in inspect_image(tmp_path / name, LIMIT).oddities] == kinds
    (tmp_path / "black.png").write_bytes(png(4, [bytes(24)] * 4, 16, 2))
    assert inspect_image(tmp_path / "black.png", LIMIT).oddity is None


@pytest.mark.parametrize(
    ("depth", "row", "key"),
    [
        (1, bytes([0b01010101]), 1),
        (2, bytes([0b00011011, 0b00011011]), 2),
        (4, bytes([0x0A, 0x5F, 0xA0, 0xF5]), 10),
        (8, bytes([0, 10, 100, 200, 10, 0, 255, 200]), 10),
        (16, struct.pack(">8H", 0, 1000, 30000, 65535, 1000, 999, 1001, 0), 1000),
    ],
)
def test_the_transparent_grey_of_a_png_is_white_at_every_depth(tmp_path, depth, row, key):
    """Its value is in the file's bits, while Pillow's pixels have 8: it would match other pixels, or none."""
    (tmp_path / "a.png").write_bytes(png(8, [row], depth, 0, chunk(b"tRNS", struct.pack(">H", key))))
    raw = np.unpackbits(np.frombuffer(row, np.uint8)).reshape(8, depth) @ (1 << np.arange(depth)[::-1])
    expected = np.where(raw == key, 255, np.rint(raw / ((1 << depth) - 1) * 255))
    assert np.array_equal(grey(tmp_path / "a.png"), expected) and (raw == key).any()


def test_the_transparent_colour_of_a_16_bit_png_is_white(tmp_path):
    colours = np.array([[0, 0, 0], [40000, 20000, 10000], [65535, 0, 0], [40000, 20000, 65535]], dtype=">u2")
    key = chunk(b"tRNS", struct.pack(">3H", 40000, 20000, 10000))
    (tmp_path / "a.png").write_bytes(png(4, [colours.tobytes()], 16, 2, key))
    shown = np.asarray(open_image(tmp_path / "a.png"))[0]
    assert shown[1].tolist() == [255, 255, 255] and shown[[0, 2]].tolist() == [[0, 0, 0], [255, 0, 0]]
    assert shown[3].tolist() == [156, 78, 255]


def test_transparent_palette_entries_are_white(tmp_path):
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
    for name, alphas in {"one.png": [255, 0, 255], "several.png": [0, 0, 255], "half.png": [255, 128, 255]}.items():
        data = png(3, [bytes([0, 1, 2])], 8, 3, palette, chunk(b"tRNS", bytes(alphas)))
        (tmp_path / name).write_bytes(data)
        shown = np.asarray(open_image(tmp_path / name))[0].astype(int)
        share = np.array(alphas)[:, None] / 255
        assert np.abs(shown - (np.diag([255] * 3) * share + 255 * (1 - share))).max() <= 1, name


@pytest.mark.parametrize("kind", ["bmp", "png", "webp", "tif", "la.png", "palette.png", "one.png"])
def test_an_alpha_channel_of_zeros_does_not_hide_the_picture(tmp_path, kind):
    """Some programs leave the fourth channel at 0. On white, the model would see an empty sheet."""
    image = photo(40, 30)
    path = tmp_path / f"a.{kind}"
    if kind == "bmp":
        pixels = np.dstack([np.asarray(image)[::-1, :, ::-1], np.zeros((30, 40), np.uint8)])
        path.write_bytes(bmp(pixels))
    elif kind == "palette.png":
        image = image.quantize(16)
        image.save(path, transparency=bytes(16))
        image = image.convert("RGB")
    else:
        image = image.convert("L").convert("RGB") if kind == "la.png" else image
        shown = image.convert("LA") if kind == "la.png" else image.convert("RGBA")
        shown.putalpha(1 if kind == "one.png" else 0)
        path.write_bytes(
            encoded(
                shown,
                {"tif": "TIFF", "webp": "WEBP"}.get(kind, "PNG"),
                **{"webp": {"lossless": True, "exact": True}}.get(kind, {}),
            )
        )
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(image))
    oddity = inspect_image(path, LIMIT).oddity
    assert oddity.kind == "image_alpha" and "every pixel is marked as transparent" in oddity.what


def test_a_blank_transparent_picture_is_told(tmp_path):
    Image.new("RGBA", (30, 20)).save(tmp_path / "a.png")
    assert inspect_image(tmp_path / "a.png", LIMIT).oddity.kind == "image_empty_alpha"
    assert (np.asarray(open_image(tmp_path / "a.png")) == 255).all()


def test_a_png_whose_text_has_a_wrong_checksum_is_read(tmp_path):
    """Viewers show it: the pixels are whole."""
    content = bytearray(png(2, [b"\0\xff"] * 2, 8, 0, chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a"))))
    content[content.index(b"zTXt") + 4] ^= 1
    (tmp_path / "a.png").write_bytes(content)
    assert inspect_image(tmp_path / "a.png", LIMIT).oddity is None and list(grey(tmp_path / "a.png")) == [0, 255] * 2


@pytest.mark.parametrize(("colour", "channels"), [(4, 1), (6, 3)])
def test_12_bit_values_below_an_alpha_channel_are_told(tmp_path, colour, channels):
    rows = [b"".join(struct.pack(">H", int(v * 4095)) * channels + b"\xff\xff" for v in RAMP)] * 2
    (tmp_path / "a.png").write_bytes(png(256, rows, 16, colour))
    assert inspect_image(tmp_path / "a.png", LIMIT).oddity.kind == "image_dark"


HIDDEN = {
    "white on nothing": ((255, 255, 255), lambda alpha: (alpha > 128) * 255, "nothing of the rest is visible"),
    "all but some pixels": ((10, 90, 20), lambda alpha: (alpha > 253) * 255, "of the pixels are transparent"),
}


@pytest.mark.parametrize(("colour", "mask", "words"), HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_a_picture_that_hardly_shows_is_told(tmp_path, image_format, colour, mask, words):
    """On white it is white: a model is trained on nothing."""
    alpha = np.tile(np.arange(256), (16, 1))
    pixels = np.dstack([np.broadcast_to(colour, (16, 256, 3)), mask(alpha)]).astype(np.uint8)
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(encoded(Image.fromarray(pixels), image_format, lossless=True))
    odd = inspect_image(path, LIMIT).oddity
    assert odd.kind == "image_hidden" and words in odd.what
    pixels[..., 3] = 255
    path.write_bytes(encoded(Image.fromarray(pixels), image_format, lossless=True))
    assert inspect_image(path, LIMIT).oddity is None


@pytest.mark.parametrize("where", ["zTXt", "iTXt", "tEXt", "iCCP", "after"])
def test_large_metadata_of_a_png_are_no_fault(tmp_path, where):
    """Editors store their history and profiles of megabytes; the pixels are all there."""
    text = np.random.default_rng(0).integers(33, 126, 3_000_000, dtype=np.uint8).tobytes()
    notes = {
        "zTXt": b"Comment\0\0" + zlib.compress(text),
        "iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text),
        "tEXt": b"Comment\0" + text,
        "iCCP": b"icc\0\0" + zlib.compress(text),
        "after": b"Comment\0\0" + zlib.compress(text),
    }
    plain = encoded(photo(40, 30), "PNG")
    note = chunk(b"zTXt" if where == "after" else where.encode(), notes[where])
    at = len(plain) - 12 if where == "after" else 33
    (tmp_path / "a.png").write_bytes(plain[:at] + note * (30 if where == "tEXt" else 1) + plain[at:])
    facts = inspect_image(tmp_path / "a.png", LIMIT)
    assert facts.oddity is None and (facts.width, facts.height) == (40, 30)
    assert np.array_equal(np.asarray(open_image(tmp_path / "a.png")), np.asarray(photo(40, 30)))


def test_large_metadata_do_not_cost_the_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(photo(40, 30), "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(
        plain[:33] + chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(2_000_000))) + plain[33:]
    )
    assert open_image(tmp_path / "a.png").size == (30, 40)


def test_metadata_that_are_a_bomb_are_refused(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 70_000_000, zip=True)
    photo(40, 30).save(tmp_path / "a.png", pnginfo=info)
    error = problem(tmp_path / "a.png")
    assert "metadata" in error.what and error.cure == "Save the image without them"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("lost", [1, 2, 5, 40])
def test_a_jpeg_without_its_last_bytes(tmp_path, lost, progressive):
    """Viewers show it, and many data sets have some: the user decides, the default stops."""
    whole = encoded(photo(), "JPEG", progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(whole[:-lost])
    error = problem(tmp_path / "a.jpg")
    assert error.kind == "image_truncated" and "set data.truncated_images: accept" in error.cure
    facts = inspect_image(tmp_path / "a.jpg", LIMIT, truncated=ACCEPT)
    assert facts.oddity.kind == "image_truncated" and "ends too early" in facts.oddity.what
    shown, right = (
        np.asarray(image).astype(int) for image in (open_image(tmp_path / "a.jpg"), Image.open(io.BytesIO(whole)))
    )
    assert (shown != right).any(2).mean() < 0.02, "only the last blocks may differ"


def test_half_a_picture_is_named_as_half(tmp_path, caplog):
    """Whoever accepts them should know how much is missing; and later stages say it too."""
    for name, image_format in {"a.jpg": "JPEG", "a.png": "PNG", "a.bmp": "BMP"}.items():
        whole = encoded(photo(), image_format)
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        assert problem(tmp_path / name).kind == "image_truncated"
        what = inspect_image(tmp_path / name, LIMIT, truncated=ACCEPT).oddity.what
        assert 35 <= int(what.split("(")[1].split("%")[0]) <= 65, what
        assert open_image(tmp_path / name).size == (400, 300) and name in caplog.text
    Image.open(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="truncated"):
        Image.open(tmp_path / "a.png").load()


@pytest.mark.parametrize("image_format", ["WEBP", "AVIF", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("lost", [2, 40])
def test_other_formats_without_their_last_bytes(tmp_path, image_format, lost):
    """The user decides about them as about JPEGs: the decoder alone would give nothing of a WebP or an AVIF."""
    whole = encoded(photo(), image_format)
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(whole[:-lost])
    if image_format != "PNG":  # whose last 16 bytes are no pixels
        error = problem(path)
        assert error.kind == "image_truncated" and "set data.truncated_images: accept" in error.cure
        assert inspect_image(path, LIMIT, truncated=ACCEPT).oddity.kind == "image_truncated"
    inspect_image(path, LIMIT, truncated=ACCEPT)
    right = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB")).astype(int)
    assert (np.asarray(open_image(path)) != right).any(2).mean() < 0.25


@pytest.mark.parametrize("head", [b"RIFF\xff\xff\xff\x7fWEBPVP8 ", b"\0\0\0\x0cjP  \r\n\x87\n\x7f\xff\xff\xffjp2c"])
def test_a_damaged_length_does_not_fill_the_memory(tmp_path, head):
    """A file of some bytes that says it has 2 GB is not filled up to 2 GB."""
    (tmp_path / "a.webp").write_bytes(head + bytes(range(200)))
    assert completed((tmp_path / "a.webp").read_bytes()) is None
    assert problem(tmp_path / "a.webp", truncated=ACCEPT).cure.startswith("Replace it")


def test_a_png_that_is_partly_zero_can_be_accepted(tmp_path):
    whole = encoded(photo(), "PNG")
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    assert "set data.truncated_images: accept" in problem(tmp_path / "a.png").cure
    assert "blank" in inspect_image(tmp_path / "a.png", LIMIT, truncated=ACCEPT).oddity.what


@pytest.mark.parametrize("image_format", ["BMP", "TIFF"])
def test_zeros_at_the_end_of_an_uncompressed_picture_are_told(tmp_path, image_format):
    """They are black rows, as a picture may have: it is used, with a word."""
    whole = encoded(photo(), image_format)
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(whole)
    assert inspect_image(path, LIMIT).oddity is None
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert "the last 50% of the file are zero bytes" in inspect_image(path, LIMIT).oddity.what


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("place", ["end", "middle"])
def test_a_picture_that_is_partly_zero_is_incomplete(tmp_path, image_format, place):
    """Broken off downloads and copies leave files of full length; decoders make grey or wild colours of them."""
    whole = encoded(photo(seed=1), image_format, quality=90)
    n = len(whole)
    start, stop = (n // 2, n) if place == "end" else (n // 3, n // 3 + n // 4)
    path = tmp_path / f"a.{image_format.lower()}"
    path.write_bytes(whole[:start] + bytes(stop - start) + whole[stop:])
    error = problem(path)
    assert error.kind in ("image_truncated", "image_unreadable")
    if error.kind == "image_truncated" and "zero" in error.what:
        assert "data.truncated_images: accept" in error.cure
        facts = inspect_image(path, LIMIT, truncated=ACCEPT)
        assert facts.oddity.kind == "image_truncated" and "of the file are zero" in facts.oddity.what
    path.write_bytes(whole)
    assert inspect_image(path, LIMIT).oddity is None


@pytest.mark.parametrize("optimize", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_flat_pictures_and_zeros_after_the_end_are_whole(tmp_path, optimize, progressive):
    """The codes of a white area may be zeros, and cameras fill up their files."""
    path = tmp_path / "a.jpg"
    image = Image.new("RGB", (2000, 1500), (250, 250, 250))
    image.paste(photo(), (1500, 20))
    path.write_bytes(encoded(image, "JPEG", optimize=optimize, progressive=progressive) + bytes(5000))
    assert inspect_image(path, 10_000_000).oddity is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.ppm", encoded(photo(40, 30), "PPM"), "a Netpbm picture"),
        ("a.pgm", b"P2\n# by hand\n2 1\n255\n0 255\n", "a Netpbm picture"),
        ("a.tga", encoded(photo(40, 30), "TGA"), "a TGA picture"),
        ("a.ico", encoded(photo(40, 30), "ICO"), "an icon"),
        ("a.psd", b"8BPS\0\1" + bytes(50), "a Photoshop file"),
        ("a.svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>', "an SVG drawing"),
        ("b.svg", b'<svg width="3"></svg>', "an SVG drawing"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50), "an HEIC picture"),
        ("a.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0heicmif1" + bytes(50), "an HEIC picture"),
        ("a.jxl", b"\xff\x0a" + bytes(50), "a JPEG XL picture"),
        ("a.exr", b"\x76\x2f\x31\x01" + bytes(50), "an OpenEXR picture"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(50), "a DICOM picture"),
        ("a.dds", b"DDS " + bytes(124), "a DDS picture"),
        ("a.pdf", b"%PDF-1.7\n" + bytes(20), "a PDF file"),
        ("a.mp4", b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(50), "a video"),
        ("a.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "a raw photograph"),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\0" + bytes(50), "a raw photograph"),
        ("a.raf", b"FUJIFILMCCD-RAW 0201" + bytes(50), "a raw photograph"),
        ("a.tif", b"II+\0\x08\0\0\0" + bytes(50), "a BigTIFF picture"),
        ("a.avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(50), "an AVIF picture"),
        ("a.icns", encoded(photo(64, 64), "ICNS"), "an icon of macOS"),
        ("a.xbm", b"#define a_width 8\n#define a_height 1\n", "an XBM picture"),
        ("a.pbm", b"P1#made by hand\n2 2 0 1 1 0", "a Netpbm picture"),
    ],
)
def test_other_formats_are_named_and_to_be_converted(tmp_path, name, content, words):
    """`Replace it with a complete file` sends people to look for another copy of a good file."""
    (tmp_path / name).write_bytes(content)
    error = problem(tmp_path / name)
    assert error.kind == "image_unreadable" and words in error.what, error
    assert "PNG" in error.cure and "complete" not in error.cure


@pytest.mark.parametrize(
    ("content", "words", "cure"),
    [
        (b"<!doctype html><html><body>404</body></html>", "a web page", "download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git LFS", "git lfs pull"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X        " + bytes(50), "macOS", "Delete it"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "a PNG that is damaged", "complete"),
        (b"404: Not Found\n", "a text that begins with '404: Not Found", "Put the picture in its place"),
        (b'[{"id": 1}]', "a JSON file", "Put the picture in its place"),
        (b"/annex/objects/SHA256E-s9--0.jpg\n", "git-annex", "git annex get"),
        (bytes(5000), "the first 4,096 bytes of the file are zero", "complete"),
    ],
)
def test_files_that_are_no_pictures_are_called_what_they_are(tmp_path, content, words, cure):
    (tmp_path / "a.jpg").write_bytes(content)
    error = problem(tmp_path / "a.jpg")
    assert error.kind == "image_unreadable" and words in error.what and cure in error.cure, error


def test_libtiff_writes_nothing_to_the_terminal(tmp_path, capfd):
    """Its lines name no file, and stand in the middle of the progress bar."""
    whole = encoded(photo(), "TIFF", compression="tiff_lzw")
    n = len(whole)
    (tmp_path / "a.tif").write_bytes(whole[: n // 3] + bytes(n // 3) + whole[n // 3 + n // 3 :])
    assert problem(tmp_path / "a.tif").kind == "image_unreadable"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["jpf", "j2c", "jpx", "avifs", "jif"])
def test_rare_extensions_of_accepted_formats_are_no_oddity(tmp_path, suffix):
    image_format = {"avifs": "AVIF", "jif": "JPEG"}.get(suffix, "JPEG2000")
    (tmp_path / f"a.{suffix}").write_bytes(encoded(photo(40, 30), image_format))
    assert inspect_image(tmp_path / f"a.{suffix}", LIMIT).oddity is None
