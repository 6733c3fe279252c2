"""What a file is that is neither a CSV nor a picture, told from its first bytes, and how to make use of it."""

import codecs
import re
import zipfile
from pathlib import Path

from vqaflow.artifacts.picture_kinds import RAW_PHOTOGRAPH, VIDEO, FileKind, picture, picture_kind
from vqaflow.runtime.files import parse_json

HEAD = 4096  # bytes that tell the kind


UNPACK = "Unpack it, and give the file inside"
AS_CSV = "Save it as CSV in UTF-8"
WEB_PAGE = FileKind("a web page (often that of a login or an error)", "Log in, and download the file again")
LFS_POINTER = FileKind("a pointer of git LFS, not the file itself", "Run git lfs pull")
ANNEX_POINTER = FileKind("a pointer of git-annex, not the file itself", "Run git annex get")
DVC_POINTER = FileKind("a note of DVC about the file, not the file itself", "Run dvc pull")
SERVER_ERROR = FileKind("a server's message about an error", "Log in, and download the file again")
PICKLE = FileKind("a Python pickle", "Save it as CSV in UTF-8 (pandas: read_pickle, then to_csv with index=False)")

# (offset, bytes, kind); the first that fits
SIGNATURES: list[tuple[int, bytes, FileKind]] = [
    (0, b"version https://git-lfs", LFS_POINTER),
    (0, b"version http://git-media.io", LFS_POINTER),
    (0, b"/annex/objects/", ANNEX_POINTER),
    (0, b"outs:\n- md5: ", DVC_POINTER),
    (0, b"\x1f\x8b", FileKind("a gzip file", "Unpack it (gunzip), and give the file inside")),
    (4, b"1AY&SY", FileKind("a bzip2 file", UNPACK)),
    (0, b"\xfd7zXZ\0", FileKind("an xz file", UNPACK)),
    (0, b"\x28\xb5\x2f\xfd", FileKind("a zstd file", UNPACK)),
    (0, b"\x04\x22\x4d\x18", FileKind("an lz4 file", UNPACK)),
    (0, b"\x5d\0\0", FileKind("an lzma file", UNPACK)),
    (0, b"\x1f\x9d", FileKind("a compressed file (.Z)", UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", UNPACK)),
    (0, b"Rar!\x1a\x07", FileKind("a RAR archive", UNPACK)),
    (257, b"ustar", FileKind("a tar archive", UNPACK)),
    (0, b"\xd0\xcf\x11\xe0", FileKind("an old Office file, as Excel saves (.xls)", AS_CSV)),
    (0, b"PAR1", FileKind("a parquet file", AS_CSV)),
    (0, b"ARROW1", FileKind("an Arrow (feather) file", AS_CSV)),
    (0, b"ORC", FileKind("an ORC file", AS_CSV)),
    (0, b"Obj\x01", FileKind("an Avro file", AS_CSV)),
    (0, b"<stata_dta>", FileKind("a Stata file", AS_CSV)),
    (12, b"\xc2\xea\x81\x60", FileKind("a SAS file", AS_CSV)),
    (0, b"$FL2@(#)", FileKind("an SPSS file", AS_CSV)),
    (0, b"RDX", FileKind("an R file", AS_CSV)),
    (0, b"\x80\x02", PICKLE),
    (0, b"\x80\x03", PICKLE),
    (0, b"\x80\x04", PICKLE),
    (0, b"\x80\x05", PICKLE),
    (0, b"{\\rtf", FileKind("a rich text file (RTF)", AS_CSV)),
    (0, b"\x89HDF", FileKind("an HDF5 file", AS_CSV)),
    (0, b"SQLite format 3", FileKind("an SQLite database", AS_CSV)),
    (0, b"\x93NUMPY", FileKind("a NumPy file", "Save its pixels as PNG, or its table as CSV")),
    (0, b"%PDF", FileKind("a PDF file", "Save its pages as PNG, or its table as CSV")),
    (0, b"\0\x05\x16\x07", FileKind("a macOS file about another file (its name begins with ._)", "Delete it")),
]
AVIF_BRANDS = {b"avif", b"avis"}
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
PICTURES_IN_CSV_PLACE = {b"\xff\xd8\xff": "a JPEG picture", b"\x89PNG": "a PNG picture", b"GIF8": "a GIF picture"}
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that texts do not have


def file_kind(path: Path | str) -> FileKind | None:
    """What a file is that should be a CSV or a picture of an accepted format; None if its first bytes do not tell."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(path)
    head = head.removeprefix(codecs.BOM_UTF8)
    plain = not CONTROLS.search(head)
    for offset, signature, kind in SIGNATURES:
        if head.startswith(signature, offset) and not (offset and plain):
            return kind
    if head[4:8] == b"ftyp" and not plain:
        return _container_kind(head)
    if kind := picture_kind(head, plain):
        return kind
    return _text_kind(head) or (picture("a TGA picture") if _is_tga(path, head) else None)


def is_text(data: bytes) -> bool:
    """Whether the first bytes of a file are text, in UTF-8 or CP949; the last character may be cut."""
    decoders = (codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp949"))
    return not CONTROLS.search(data) and any(_decodes(decoder, data) for decoder in decoders)


def _decodes(decoder: codecs.IncrementalDecoder, data: bytes) -> bool:
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return False
    return True


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
    if any(name.startswith("word/") for name in names):
        return FileKind("a Word file (.docx)", AS_CSV)
    if any(name.endswith(".iwa") for name in names):
        return FileKind("an Apple Numbers file", AS_CSV)
    if "mergedimage.png" in names:
        return picture("a Krita or OpenRaster picture")
    if "mimetype" in names and "content.xml" in names:
        return FileKind("an OpenDocument file (.ods)", AS_CSV)
    return FileKind("a zip archive", UNPACK)


def _container_kind(head: bytes) -> FileKind:
    """HEIF pictures and videos share one container."""
    if head[8:11] == b"crx":
        return RAW_PHOTOGRAPH
    brands = {head[8:12], *(head[i : i + 4] for i in range(16, min(int.from_bytes(head[:4]), 64), 4))}
    if brands & AVIF_BRANDS:
        return picture("an AVIF picture that is damaged, or of a kind that cannot be read")
    if brands & HEIF_BRANDS:
        return picture("an HEIC picture, as iPhones save")
    return VIDEO


def _text_kind(head: bytes) -> FileKind | None:
    text = head.decode("utf-8-sig", errors="replace").lstrip()
    lower = text.lower()
    if re.match(r"(<!--.*?-->\s*)*<!doctype html|(<!--.*?-->\s*)*<(html|head|body|script)\b", lower, re.S):
        return WEB_PAGE
    if re.match(r"<svg\b", lower) or (lower.startswith(("<?xml", "<!doctype svg", "<!--")) and "<svg" in lower):
        return picture("an SVG drawing")
    if lower.startswith("<?xml"):
        if "<html" in lower or "<!doctype html" in lower:
            return WEB_PAGE
        return SERVER_ERROR if "<error>" in lower else FileKind("an XML file", AS_CSV)
    if re.match(r"<[!?/]?[a-z]", lower):
        return FileKind("a page or file of markup (HTML or XML)", WEB_PAGE.cure)
    first = text.split("\n", 1)[0].strip()
    if text.lstrip("{ \r\n").startswith(('"error"', '"code"', '"message"', '"detail"')) and text[0] == "{":
        return SERVER_ERROR
    if re.match(r'\{\s*("|$)', first) or re.match(r"\[\s*(\{|\[|$)", first):
        return FileKind("a JSON Lines file" if _is_json(first) and first[0] == "{" else "a JSON file", AS_CSV)
    return None


def _is_json(line: str) -> bool:
    try:
        return isinstance(parse_json(line), dict)
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
