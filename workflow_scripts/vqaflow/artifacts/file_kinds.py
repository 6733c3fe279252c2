"""What a file is that is neither a CSV nor a picture, told from its first bytes, and how to make use of it."""

import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

HEAD = 4096  # bytes that tell the kind


@dataclass(frozen=True, slots=True)
class FileKind:
    """`name` with its article, and the `cure`; `is_picture`: a format of images that is not accepted."""

    name: str
    cure: str
    is_picture: bool = False


UNPACK = "Unpack it, and give the file inside"
AS_CSV = "Save it as CSV in UTF-8"
AS_PICTURE = "Convert it to PNG or JPEG"
WEB_PAGE = FileKind("a web page (often that of a login or an error)", "Log in, and download the file again")
LFS_POINTER = FileKind("a pointer of git LFS, not the file itself", "Run git lfs pull")

# (offset, bytes, kind); the first that fits
SIGNATURES: list[tuple[int, bytes, FileKind]] = [
    (0, b"version https://git-lfs", LFS_POINTER),
    (0, b"\x1f\x8b", FileKind("a gzip file", "Unpack it (gunzip), and give the file inside")),
    (4, b"1AY&SY", FileKind("a bzip2 file", UNPACK)),
    (0, b"\xfd7zXZ\0", FileKind("an xz file", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("a zstd file", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", FileKind("a RAR archive", UNPACK)),
    (257, b"ustar", FileKind("a tar archive", UNPACK)),
    (0, b"\xd0\xcf\x11\xe0", FileKind("an old Excel file (.xls)", AS_CSV)),
    (0, b"PAR1", FileKind("a parquet file", AS_CSV)),
    (0, b"ARROW1", FileKind("an Arrow (feather) file", AS_CSV)),
    (0, b"\x89HDF", FileKind("an HDF5 file", AS_CSV)),
    (0, b"SQLite format 3", FileKind("an SQLite database", AS_CSV)),
    (0, b"\x93NUMPY", FileKind("a NumPy file", "Save its pixels as PNG, or its table as CSV")),
    (0, b"%PDF", FileKind("a PDF file", "Save its pages as PNG, or its table as CSV")),
    (0, b"%!PS", FileKind("a PostScript file", AS_PICTURE, True)),
    (0, b"\0\x05\x16\x07", FileKind("a macOS file about another file (its name begins with ._)", "Delete it")),
    (0, b"8BPS", FileKind("a Photoshop file (PSD)", AS_PICTURE, True)),
    (0, b"\0\0\1\0", FileKind("an icon (ICO)", AS_PICTURE, True)),
    (0, b"\0\0\2\0", FileKind("a cursor (CUR) or a TGA picture", AS_PICTURE, True)),
    (0, b"DDS ", FileKind("a DDS picture", AS_PICTURE, True)),
    (0, b"\x76\x2f\x31\x01", FileKind("an OpenEXR picture", AS_PICTURE, True)),
    (0, b"#?RADIANCE", FileKind("a Radiance HDR picture", AS_PICTURE, True)),
    (0, b"#?RGBE", FileKind("a Radiance HDR picture", AS_PICTURE, True)),
    (0, b"\xff\x0a", FileKind("a JPEG XL picture", AS_PICTURE, True)),
    (4, b"JXL ", FileKind("a JPEG XL picture", AS_PICTURE, True)),
    (0, b"II\xbc", FileKind("a JPEG XR picture", AS_PICTURE, True)),
    (0, b"SIMPLE  =", FileKind("a FITS file", AS_PICTURE, True)),
    (0, b"qoif", FileKind("a QOI picture", AS_PICTURE, True)),
    (0, b"gimp xcf", FileKind("a GIMP file (XCF)", AS_PICTURE, True)),
    (8, b"ILBM", FileKind("an IFF picture", AS_PICTURE, True)),
    (0, b"\x0a\x05\x01", FileKind("a PCX picture", AS_PICTURE, True)),
    (0, b"\x01\xda", FileKind("an SGI picture", AS_PICTURE, True)),
    (0, b"\xd7\xcd\xc6\x9a", FileKind("a Windows metafile (WMF)", AS_PICTURE, True)),
    (40, b" EMF", FileKind("a Windows metafile (EMF)", AS_PICTURE, True)),
    (128, b"DICM", FileKind("a DICOM picture", AS_PICTURE, True)),
    (0, b"\x1a\x45\xdf\xa3", FileKind("a video", "Save a frame of it as PNG or JPEG")),
    (8, b"AVI ", FileKind("a video", "Save a frame of it as PNG or JPEG")),
]
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
PICTURES_IN_CSV_PLACE = {b"\xff\xd8\xff": "a JPEG picture", b"\x89PNG": "a PNG picture", b"GIF8": "a GIF picture"}
NETPBM = re.compile(rb"P[1-7fF]\s+(#|\d|WIDTH)")
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that texts do not have


def file_kind(path: Path | str) -> FileKind | None:
    """What a file is that should be a CSV or a picture of an accepted format; None if its first bytes do not tell."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    is_text = not CONTROLS.search(head)
    for offset, signature, kind in SIGNATURES:
        if head.startswith(signature, offset) and not (offset and is_text):
            return kind
    if head[4:8] == b"ftyp" and not is_text:
        return _container_kind(head)
    if NETPBM.match(head):
        return FileKind("a Netpbm picture (PPM, PGM, PBM)", AS_PICTURE, True)
    return _text_kind(head) or (FileKind("a TGA picture", AS_PICTURE, True) if _is_tga(path, head) else None)


def picture_in_csv_place(head: bytes) -> str | None:
    """The name of the accepted picture format that `head` begins, if it does."""
    return next((name for mark, name in PICTURES_IN_CSV_PLACE.items() if head.startswith(mark)), None)


def _zip_kind(path: Path | str) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    if any(name.startswith("xl/") for name in names):
        return FileKind("an Excel file (.xlsx)", AS_CSV)
    if "mimetype" in names and "content.xml" in names:
        return FileKind("an OpenDocument file (.ods)", AS_CSV)
    return FileKind("a zip archive", UNPACK)


def _container_kind(head: bytes) -> FileKind:
    """HEIF pictures and videos share one container."""
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(int.from_bytes(head[:4]), 64), 4))}
    if brands & HEIF_BRANDS:
        return FileKind("an HEIC picture, as iPhones save", AS_PICTURE, True)
    return FileKind("a video", "Save a frame of it as PNG or JPEG")


def _text_kind(head: bytes) -> FileKind | None:
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    lower = text.lower()
    if re.match(r"(<!--.*?-->\s*)*<!doctype html|(<!--.*?-->\s*)*<(html|head|body|script)\b", lower, re.S):
        return WEB_PAGE
    if re.match(r"<svg\b", lower) or (lower.startswith(("<?xml", "<!doctype svg", "<!--")) and "<svg" in lower):
        return FileKind("an SVG drawing", AS_PICTURE, True)
    if lower.startswith("<?xml"):
        return FileKind("an XML file", AS_CSV)
    first = text.split("\n", 1)[0].strip()
    if re.match(r'\{\s*("|$)', first) or re.match(r"\[\s*(\{|\[|$)", first):
        return FileKind("a JSON Lines file" if _is_json(first) and first[0] == "{" else "a JSON file", AS_CSV)
    return None


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _is_tga(path: Path | str, head: bytes) -> bool:
    """TGA has no signature but a footer in newer files; older ones are told by a sound header and their extension."""
    with Path(path).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 18))
        if file.read(18) == b"TRUEVISION-XFILE.\0":
            return True
    if Path(path).suffix.lower() not in {".tga", ".icb", ".vda", ".vst"} or len(head) < 18:
        return False
    return head[1] < 2 and head[2] in {1, 2, 3, 9, 10, 11} and head[16] in {8, 15, 16, 24, 32}
