"""Files of other kinds in a picture's place: what would break if a good one were called damaged."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from vqaflow.data.images.decoding import ACCEPT, ImageProblem, inspect_image, open_image

LIMIT = 1_000_000
# Signature -> what the message says. The content behind it does not matter: no decoder is asked.
KINDS = {
    b"\x0a\x03\x01\x08" + bytes(124): "a PCX picture",
    b"\xff\x10\xff\x50" + bytes(60): "a JPEG XS picture",
    b"\0\0\0\x0cJXS \r\n\x87\n" + bytes(60): "a JPEG XS picture",
    b"\xff\x0a" + bytes(60): "a JPEG XL picture",
    b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60): "a JPEG XL picture",
    b"\xff\xd8\xff\xf7\0\x0b\x08\0" + bytes(60): "a JPEG-LS picture",
    b"II\xbc\x01" + bytes(60): "a JPEG XR picture",
    b"\x97JB2\r\n\x1a\n" + bytes(60): "a JBIG2 picture",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50): "an HEIC picture",
    b"SDPX" + bytes(200): "a DPX picture",
    b"XPDS" + bytes(200): "a DPX picture",
    b"\x80\x2a\x5f\xd7" + bytes(200): "a Cineon picture",
    b"8BPS\0\x01" + bytes(60): "a Photoshop file",
    b'<svg xmlns="http://www.w3.org/2000/svg"/>': "an SVG drawing",
    b"\x76\x2f\x31\x01" + bytes(60): "an OpenEXR picture",
    bytes(128) + b"DICM" + bytes(60): "a DICOM picture",
    b"\0\0\x01\0\x01\0" + bytes(60): "an icon",
    b"\0\0\x02\0\x01\0" + bytes(60): "a cursor",
    b"icns\0\0\0\x64" + bytes(60): "an icon of macOS",
    b"SIMPLE  =                    T" + b" " * 60: "a FITS file",
    struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(8): "a NIfTI volume",
    b"NRRD0004\ntype: uchar\n": "an NRRD volume",
    b"P6\n2 2\n255\n" + bytes(12): "a Netpbm picture",
    b"PG ML + 8 64 48\n" + bytes(60): "a Netpbm picture",
    b"#?RADIANCE\n" + bytes(60): "a Radiance HDR picture",
    b"farbfeld" + bytes(60): "a farbfeld picture",
    b"qoif" + bytes(60): "a QOI picture",
    b"\x8aMNG\r\n\x1a\n" + bytes(60): "an MNG animation",
    b"\x59\xa6\x6a\x95" + bytes(60): "a Sun raster picture",
    struct.pack(">II", 100, 7) + bytes(100): "an XWD screenshot",
    bytes(512) + b"\0\0\0\0\0\0\0\x30\0\x40\0\x11\x02\xff" + bytes(60): "a PICT picture",
    b"\xabKTX 11\xbb\r\n\x1a\n" + bytes(60): "a KTX picture",
    b"DDS \x7c\0\0\0" + bytes(60): "a DDS picture",
    b"gimp xcf v011\0" + bytes(60): "a GIMP file",
    b"RIFF\0\0\0\0CDR9" + bytes(60): "a CorelDRAW file",
    b"RIFF\0\0\0\0ACON" + bytes(60): "an animated cursor",
    b"II\x1a\0\0\0HEAPCCDR" + bytes(60): "a raw photograph",
    b"IIRS\x08\0\0\0" + bytes(60): "a raw photograph",
    b"MMOR\0\0\0\x08" + bytes(60): "a raw photograph",
    b"IIU\0" + bytes(60): "a raw photograph",
    b"\0MRM" + bytes(60): "a raw photograph",
    b"FOVb" + bytes(60): "a raw photograph",
    b"FUJIFILMCCD-RAW 0201" + bytes(60): "a raw photograph",
    b"\0\0\0\x18ftypcrx \0\0\0\x01" + bytes(60): "a raw photograph",
}


def problem(path, **options):
    with pytest.raises(ImageProblem) as caught:
        inspect_image(path, LIMIT, **options)
    return caught.value


@pytest.mark.parametrize("content", KINDS, ids=list(KINDS.values()))
def test_a_picture_of_another_kind_is_named_and_to_be_converted(tmp_path, content):
    """Told as damaged, a whole file would be fetched again and again."""
    (tmp_path / "a.jpg").write_bytes(content)
    error = problem(tmp_path / "a.jpg", truncated=ACCEPT)
    assert KINDS[content] in error.what and error.cure == "Convert it to PNG or JPEG", error


@pytest.mark.parametrize("name", ["a sound", "a video"])
def test_a_sound_or_a_video_is_no_webp(tmp_path, name):
    """They share the container of WebP."""
    (tmp_path / "a.webp").write_bytes(b"RIFF\0\0\0\0" + {"a sound": b"WAVE", "a video": b"AVI "}[name] + bytes(60))
    assert problem(tmp_path / "a.webp").what == f"the file is {name}"


def with_preview(tags, order="<"):
    """A TIFF whose first picture is a small preview of 64 x 48 pixels, as in raw files; `tags`: (tag, type, value)."""

    def head(place):
        base = [(254, 4, 1), (256, 4, 64), (257, 4, 48), (258, 3, 8), (259, 3, 1), (262, 3, 2), (273, 4, place)]
        base += [(277, 3, 3), (278, 4, 48), (279, 4, 64 * 48 * 3)]
        entries = sorted({tag: (tag, kind, value) for tag, kind, value in [*base, *tags]}.values())
        data = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(entries))
        for tag, kind, value in entries:
            shown = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
            data += struct.pack(order + "HHI", tag, kind, 1) + shown
        return data + bytes(4)

    return head(len(head(0))) + os.urandom(64 * 48 * 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("name", "tags"),
    [
        ("a.nef", []),
        ("a.arw", []),
        ("a.dng", []),
        ("a.tif", [(330, 4, 100_000)]),  # sub-directories hold the photograph, the first is its preview
        ("a.tif", [(271, 2, 0x4E494B4F)]),  # a camera's name
        ("a.tif", [(254, 4, 0), (50706, 4, 0x0401)]),  # the version of DNG
        ("a.tif", [(254, 4, 0), (262, 3, 32803)]),  # the sensor's mosaic
    ],
)
def test_the_preview_of_a_raw_photograph_is_not_taken_for_it(tmp_path, name, tags, order):
    """64 x 48 pixels in the place of 24 megapixels, without a word."""
    (tmp_path / name).write_bytes(with_preview(tags, order))
    error = problem(tmp_path / name)
    assert "a raw photograph of a camera, of which only a small preview can be read" in error.what
    assert error.cure == "Convert it to PNG or JPEG"
    with pytest.raises(ImageProblem, match="raw photograph"):
        open_image(tmp_path / name)


def test_a_scan_with_a_cameras_name_is_read(tmp_path):
    """TIFFs that programs export keep the tags of the camera."""
    (tmp_path / "a.tif").write_bytes(with_preview([(254, 4, 0), (271, 2, 0x4E494B4F)]))
    assert inspect_image(tmp_path / "a.tif", LIMIT).width == 64
    pages = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    assert inspect_image(tmp_path / "b.tif", LIMIT).width == 40


@pytest.mark.parametrize("image_format", ["WEBP", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_cut_picture_of_a_newer_format_has_one_right_message(tmp_path, image_format, share):
    """It is either used with how much is missing, or to be fetched again; never to be converted, as it is not whole."""
    small = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((400, 300)).save(buffer, image_format)
    path = tmp_path / {"WEBP": "a.webp", "AVIF": "a.avif", "JPEG2000": "a.jp2"}[image_format]
    path.write_bytes(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
    error = problem(path)
    assert error.kind == "image_truncated" and error.cure.startswith("Replace it with a complete file"), error
    if "set data.truncated_images: accept" in error.cure:
        what = inspect_image(path, LIMIT, truncated=ACCEPT).oddity.what
        assert abs(int(what.split("(")[1].split("%")[0]) / 100 - (1 - share)) < 0.03, what
    else:
        assert problem(path, truncated=ACCEPT).what == error.what
