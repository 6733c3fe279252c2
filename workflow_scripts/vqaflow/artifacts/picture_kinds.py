"""Formats of pictures, drawings and films that are not accepted, told from the first bytes of a file."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True)
class FileKind:
    """`name` with its article, and the `cure`; `is_picture`: a format of images that is not accepted."""

    name: str
    cure: str
    is_picture: bool = False


AS_PICTURE = "Convert it to PNG or JPEG"
RAW_PHOTOGRAPH = FileKind("a raw photograph of a camera", AS_PICTURE, True)
VIDEO = FileKind("a video", "Save a frame of it as PNG or JPEG", True)
SOUND = FileKind("a sound", "Put the picture in its place", True)


def picture(name: str) -> FileKind:
    """A format of images with its article."""
    return FileKind(name, AS_PICTURE, True)


# (offset, bytes, kind) of files that are no text; the first that fits
BINARY: list[tuple[int, bytes, FileKind]] = [
    (0, b"8BPS", picture("a Photoshop file (PSD)")),
    (0, b"\0\0\1\0", picture("an icon (ICO)")),
    (0, b"\0\0\2\0", picture("a cursor (CUR) or a TGA picture")),
    (0, b"DDS ", picture("a DDS picture")),
    (0, b"\x76\x2f\x31\x01", picture("an OpenEXR picture")),
    (0, b"\xff\x0a", picture("a JPEG XL picture")),
    (4, b"JXL ", picture("a JPEG XL picture")),
    (0, b"\xff\x10\xff\x50", picture("a JPEG XS picture")),
    (4, b"JXS ", picture("a JPEG XS picture")),
    (0, b"\xff\xd8\xff\xf7", picture("a JPEG-LS picture")),
    (0, b"II\xbc", picture("a JPEG XR picture")),
    (0, b"\x97JB2", picture("a JBIG2 picture")),
    (8, b"CR\x02", RAW_PHOTOGRAPH),
    (6, b"HEAPCCDR", RAW_PHOTOGRAPH),
    (0, b"IIRO", RAW_PHOTOGRAPH),
    (0, b"IIRS", RAW_PHOTOGRAPH),
    (0, b"MMOR", RAW_PHOTOGRAPH),
    (0, b"IIU\0", RAW_PHOTOGRAPH),
    (0, b"IIII", RAW_PHOTOGRAPH),
    (0, b"\0MRM", RAW_PHOTOGRAPH),
    (0, b"FOVb", RAW_PHOTOGRAPH),
    (0, b"II+\0", picture("a BigTIFF picture")),
    (0, b"MM\0+", picture("a BigTIFF picture")),
    (0, b"icns", picture("an icon of macOS (ICNS)")),
    (0, b"BPG\xfb", picture("a BPG picture")),
    (0, b"FLIF", picture("a FLIF picture")),
    (0, b"AT&TFORM", picture("a DjVu file")),
    (0, b"qoif", picture("a QOI picture")),
    (0, b"farbfeld", picture("a farbfeld picture")),
    (0, b"gimp xcf", picture("a GIMP file (XCF)")),
    (8, b"ILBM", picture("an IFF picture")),
    (8, b"PBM ", picture("an IFF picture")),
    (0, b"\x01\xda", picture("an SGI picture")),
    (0, b"\x59\xa6\x6a\x95", picture("a Sun raster picture")),
    (0, b"SDPX", picture("a DPX picture")),
    (0, b"XPDS", picture("a DPX picture")),
    (0, b"\x80\x2a\x5f\xd7", picture("a Cineon picture")),
    (0, b"\x8aMNG", picture("an MNG animation")),
    (0, b"\x8bJNG", picture("a JNG picture")),
    (0, b"\xabKTX", picture("a KTX picture")),
    (0, b"\x13\xab\xa1\x5c", picture("an ASTC picture")),
    (0, b"PVR\x03", picture("a PVR picture")),
    (0, b"BLP1", picture("a BLP picture")),
    (0, b"BLP2", picture("a BLP picture")),
    (0, b"VTF\0", picture("a VTF picture")),
    (0, b"DanM", picture("an MSP picture")),
    (0, b"LinS", picture("an MSP picture")),
    (4, b"\0\0\0\x07", picture("an XWD screenshot")),
    (0, b"\xd7\xcd\xc6\x9a", picture("a Windows metafile (WMF)")),
    (40, b" EMF", picture("a Windows metafile (EMF)")),
    (0, b"\xc5\xd0\xd3\xc6", picture("a PostScript file (EPS)")),
    (522, b"\0\x11\x02\xff", picture("a PICT picture")),
    (128, b"DICM", picture("a DICOM picture")),
    (344, b"n+1\0", picture("a NIfTI volume")),
    (0, b"\x06\x06\xed\xf5\xd8\x1d\x46\xe5", picture("an InDesign file")),
    (0, b"BLENDER", picture("a Blender file")),
    (8, b"CDR", picture("a CorelDRAW file")),
    (8, b"ACON", picture("an animated cursor (ANI)")),
    (0, b"\x1a\x45\xdf\xa3", VIDEO),
    (8, b"AVI ", VIDEO),
    (0, b"FLV\x01", VIDEO),
    (0, b"OggS", VIDEO),
    (0, b"\0\0\x01\xba", VIDEO),
    (0, b"\0\0\x01\xb3", VIDEO),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", VIDEO),
    (8, b"WAVE", SOUND),
    (0, b"ID3", SOUND),
    (0, b"fLaC", SOUND),
]
# Files that begin with text.
TEXTS: list[tuple[bytes, FileKind]] = [
    (b"%!PS", picture("a PostScript file")),
    (b"#?RADIANCE", picture("a Radiance HDR picture")),
    (b"#?RGBE", picture("a Radiance HDR picture")),
    (b"SIMPLE  =", picture("a FITS file")),
    (b"FUJIFILMCCD-RAW", RAW_PHOTOGRAPH),
    (b"/* XPM */", picture("an XPM picture")),
    (b"#define ", picture("an XBM picture, or a program")),
    (b"NRRD000", picture("an NRRD volume")),
    (b"ObjectType = Image", picture("a MetaImage volume")),
    (b"Image type: ", picture("an IM picture")),
]
PCX = re.compile(rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]")
NETPBM = re.compile(rb"P[1-7fF](\s+(#|\d|WIDTH)|#)|PG (ML|LM) ")
RAW_SUFFIXES = {
    *(".3fr", ".arw", ".cr2", ".crw", ".dcr", ".dng", ".erf", ".gpr", ".iiq", ".k25", ".kdc", ".mef", ".mos", ".mrw"),
    *(".nef", ".nrw", ".orf", ".pef", ".ptx", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
}
NEXT_IFDS = (330, 0x8769)  # tags that lead to further directories
KIND, COMPRESSION, PHOTOMETRIC, MAKE, SUB_IFDS, DNG_VERSION = 254, 259, 262, 271, 330, 50706
RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}  # of Sony, Epson, Samsung, Nikon, Kodak and Pentax
RAW_PHOTOMETRICS = {32803, 34892}  # the colours of the sensor, in a mosaic or not
MOST_IFDS = 16


def picture_kind(head: bytes, plain: bool) -> FileKind | None:
    """The format of a picture that is not accepted by the first bytes of its file; `plain` if they are text."""
    for mark, kind in TEXTS:
        if head.startswith(mark):
            return kind
    if NETPBM.match(head):
        return picture("a Netpbm picture (PPM, PGM, PBM)")
    if plain:
        return None
    if PCX.match(head):
        return picture("a PCX picture")
    return next((kind for offset, mark, kind in BINARY if head.startswith(mark, offset)), None)


def is_raw_photograph(data: bytes, name: str) -> bool:
    """Whether a TIFF is a raw photograph of a camera, of which a decoder shows only the small preview."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return False
    if data[8:11] == b"CR\x02" or PurePath(name).suffix.lower() in RAW_SUFFIXES:
        return True
    directories = list(tiff_directories(data))
    if not directories:
        return False
    first = directories[0]
    is_preview = first.get(KIND) == 1 and (MAKE in first or SUB_IFDS in first)
    is_sensor = any(
        tags.get(PHOTOMETRIC) in RAW_PHOTOMETRICS or tags.get(COMPRESSION) in RAW_COMPRESSIONS for tags in directories
    )
    return DNG_VERSION in first or is_preview or is_sensor


def tiff_directories(data: bytes) -> Iterator[dict[int, int]]:
    """The tags of each directory of a TIFF, with their first value or its place; broken ones are left out."""
    order = "<" if data[:2] == b"II" else ">"
    waiting, seen = [_number(data, 4, 4, order)], set()
    while waiting and len(seen) < MOST_IFDS:
        place = waiting.pop(0)
        if place in seen or not 8 <= place < len(data) - 6:
            continue
        seen.add(place)
        count = _number(data, place, 2, order)
        tags = {}
        for entry in range(place + 2, min(place + 2 + 12 * count, len(data) - 12), 12):
            tag, kind = _number(data, entry, 2, order), _number(data, entry + 2, 2, order)
            tags[tag] = _number(data, entry + 8, 2 if kind == 3 else 4, order)
            if tag in NEXT_IFDS:
                number = _number(data, entry + 4, 4, order)
                places = [tags[tag]] if number == 1 else [tags[tag] + 4 * i for i in range(min(number, MOST_IFDS))]
                waiting += places if number == 1 else [_number(data, at, 4, order) for at in places]
        yield tags
        waiting.append(_number(data, place + 2 + 12 * count, 4, order))


def _number(data: bytes, place: int, size: int, order: str) -> int:
    """The number at a place of the file; 0 beyond its end."""
    part = data[place : place + size]
    return int(struct.unpack(order + ("H" if size == 2 else "I"), part)[0]) if len(part) == size else 0
