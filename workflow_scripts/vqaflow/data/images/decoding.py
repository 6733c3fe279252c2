"""The only place that opens image files: checks, training and scoring see the same pixels.

The content decides an image's format, never the file's extension. Pixels are RGB as a viewer shows them: upright
(EXIF orientation), transparent parts on white, deep greys scaled to 8 bits (see pixels.py).
"""

import ctypes
import hashlib
import io
import math
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from vqaflow.artifacts.file_kinds import HEAD, file_kind, is_text
from vqaflow.artifacts.picture_kinds import RAW_PHOTOGRAPH, is_raw_photograph
from vqaflow.data.images.damage import (
    blank_share,
    completed,
    decoding,
    has_large_notes,
    hole,
    is_cut,
    lacking_bytes,
    without_notes,
    zero_end,
)
from vqaflow.data.images.pixels import Oddity, PixelProblem, raw_pixels, to_rgb
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

# The extensions of each accepted format. For others (EPS, PDF, …) Pillow would start programs or read metadata only.
EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif", ".avifs"},
    "JPEG2000": {".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"},
}
FIRST_BYTES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"RIFF": "WEBP", b"BM": "BMP"}
FIRST_BYTES |= {b"II*\0": "TIFF", b"MM\0*": "TIFF"}
MAX_ASPECT = 200  # qwen-vl-utils' resizer refuses more
STOP = "stop"  # data.truncated_images
ACCEPT = "accept"
ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's own limit cannot be configured per call (and only warns up to twice its value): `max_pixels` takes its place,
# compared with the size that the file's header declares, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata; users cannot act on it
LARGE_PIXELS = 16_000_000  # larger images are inspected one at a time, whatever the number of threads
_large_image = threading.Lock()
LONG_END = 0.2  # the share of zero bytes at the end of an uncompressed picture from which it is told
REPLACE = "Replace it with a complete file"
CONVERT = "Convert it to PNG or JPEG"
CHANGED = "Put the old file back, or run snakemake again: it makes the tables, and all that follows, of the new one"


class ImageProblem(UserError):
    """Why an image cannot be used: `kind` is a code word, `what` and `cure` are for the reader."""

    def __init__(self, kind: str, what: str, cure: str, path: Path | str = "") -> None:
        super().__init__(f"{path}: {what}. {cure}" if path else f"{what}. {cure}")
        self.kind, self.what, self.cure = kind, what, cure

    def without_frames(self) -> "ImageProblem":
        """This problem, to be kept: the calls that raised it would keep a picture's bytes and a table's rows."""
        self.__traceback__ = self.__context__ = self.__cause__ = None
        return self


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is kept of a readable image: upright size in pixels; `oddities` are problems that do not prevent its use.

    `sha256` is the digest of the file, `pixels` that of what the model is shown (see `pixel_digest`).
    """

    sha256: str
    pixels: str
    phash: str
    width: int
    height: int
    format: str = ""
    oddities: tuple[ImageProblem, ...] = ()

    @property
    def oddity(self) -> ImageProblem | None:
        """The first of the oddities."""
        return self.oddities[0] if self.oddities else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB image, its format (a key of EXTENSIONS), what is odd about it, and what is missing from it."""

    image: Image.Image
    format: str
    oddities: list[Oddity]
    damage: Oddity | None = None


def open_image(path: Path | str, sha256: str | None = None) -> Image.Image:
    """The image as upright RGB, fully decoded, of any size: `inspect_image` has accepted it into the tables.

    Raises ImageProblem (a UserError) if it cannot be decoded, or if its bytes do not have the digest `sha256`: then
    another picture has taken the place of the one that the tables were made of. An incomplete image is given as far as
    it goes, with a warning: `data.truncated_images` was set to accept it, or it was damaged since.
    """
    data = _read(path)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        what = "the image was replaced or changed since the tables were made (its sha256 is not theirs)"
        raise ImageProblem("image_changed", what, CHANGED, path)
    decoded = _decode(path, math.inf, data)
    if decoded.damage:
        _warn_of_damage(str(path), decoded.damage.what)
    return decoded.image


def one_large_image(path: Path | str) -> AbstractContextManager[object]:
    """The lock in which a large image is read, so that threads hold one at a time; nothing for other images."""
    return _large_image if math.prod(declared_size(path)) > LARGE_PIXELS else nullcontext()


@lru_cache(maxsize=4096)  # once per file and fault
def _warn_of_damage(path: str, what: str) -> None:
    log.warning("%s: %s; it is used as it is", path, what)


def inspect_image(path: Path | str, max_pixels: int, truncated: str = STOP) -> ImageFacts:
    """Digests, perceptual hash (imagehash.phash, 64 bits as 16 hex digits) and size of an image, decoded in full.

    Raises ImageProblem if `open_image` would, if the image has more than `max_pixels`, if the resizer refuses its
    shape, or if it is incomplete and `truncated` is ``stop``.
    """
    import imagehash

    with one_large_image(path):
        data = _read(path)
        decoded = _decode(path, max_pixels, data)
        damage = decoded.damage or _find_hole(path, decoded.format)
        blank_end = _find_blank_end(path, decoded.format)
        phash = str(imagehash.phash(decoded.image))
        pixels = pixel_digest(decoded.image)
    if damage and truncated == STOP:
        raise ImageProblem(damage.kind, damage.what, f"{REPLACE}, or set data.truncated_images: accept", path)
    width, height = decoded.image.size
    if max(width, height) / min(width, height) > MAX_ASPECT:
        what = f"one side is more than {MAX_ASPECT} times the other ({width} x {height} pixels)"
        raise ImageProblem("image_shape", what, "Crop the image; the resizer does not accept this shape", path)
    found = [*decoded.oddities, *([damage] if damage else blank_end)]
    oddities = [ImageProblem(odd.kind, odd.what, odd.cure, path) for odd in found]
    if wrong := wrong_extension(path, decoded.format):
        oddities.append(wrong)
    return ImageFacts(hashlib.sha256(data).hexdigest(), pixels, phash, width, height, decoded.format, tuple(oddities))


def pixel_digest(image: Image.Image) -> str:
    """Digest of an RGB image's size and pixels: equal for a PNG that was saved again, whatever bytes its file has."""
    digest = hashlib.sha256(f"{image.width} x {image.height}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def wrong_extension(name: Path | str, image_format: str) -> ImageProblem | None:
    """The oddity of a file whose extension is not one of its format."""
    suffix = Path(name).suffix.lower()
    if suffix in EXTENSIONS[image_format]:
        return None
    what = f"the content is {image_format}, but the extension is {suffix or 'missing'}"
    return ImageProblem("image_extension", what, "It is read by its content; rename it when convenient", name)


def declared_size(path: Path | str) -> tuple[int, int]:
    """Width and height from the file's header, before rotation; (0, 0) if it cannot be read."""
    with suppress(Exception):  # decoding reports what is wrong
        with _open(path) as image:
            return image.size
    return 0, 0


def _read(path: Path | str) -> bytes:
    """The bytes of an image file: what is hashed is what is decoded. Raises ImageProblem if there are none."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageProblem("image_missing", "no such file", "Put it there", path) from None
    except OSError as error:
        raise ImageProblem("image_unreadable", f"the file cannot be read ({error.strerror})", REPLACE, path) from None
    if not data:
        raise ImageProblem("image_empty", "the file is empty", REPLACE, path)
    return data


def _open(source: bytes | Path | str) -> Image.Image:
    """Open the bytes, or the file, of an accepted format; a PNG with too large metadata is read without them."""
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=list(EXTENSIONS))
    except ValueError as error:
        if not has_large_notes(error):
            raise
        return _open_without_notes(_bytes_of(source))
    except UnidentifiedImageError:
        with suppress(Exception):  # a PNG whose texts have a wrong checksum
            return _open_without_notes(_bytes_of(source))
        raise


def _bytes_of(source: bytes | Path | str) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _open_without_notes(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(without_notes(data)), formats=["PNG"])


def _decode(path: Path | str, max_pixels: float, data: bytes) -> Decoded:
    """Decode the bytes of an image in full. Raises ImageProblem where that is not possible."""
    if is_raw_photograph(data, str(path)):
        what = f"the file is {RAW_PHOTOGRAPH.name}, of which only a small preview can be read"
        raise ImageProblem("image_unreadable", what, CONVERT, path)
    try:
        _silence_libtiff()
        with decoding.shared():
            return _loaded(_open(data), path, max_pixels)
    except ImageProblem:
        raise
    except UnidentifiedImageError:
        if lack := lacking_bytes(data):
            what = f"the image is incomplete: {lack / (lack + len(data)):.0%} of its bytes are missing"
            raise ImageProblem("image_truncated", f"{what}, and the rest shows nothing", REPLACE, path) from None
        raise ImageProblem("image_unreadable", *_what_it_is(path), path) from None
    except PixelProblem as problem:
        raise ImageProblem("image_unreadable", problem.what, problem.cure, path) from None
    except Exception as error:  # decoders raise all kinds of errors on broken files
        return _decode_damaged(path, max_pixels, error, data)


def _decode_damaged(path: Path | str, max_pixels: float, error: Exception, data: bytes) -> Decoded:
    """What is there of an image whose decoding ended with `error`. Raises ImageProblem if that is nothing."""
    if has_large_notes(error):  # of a PNG, after its pixels
        try:
            return _loaded(_open_without_notes(data), path, max_pixels)
        except PixelProblem as problem:
            raise ImageProblem("image_unreadable", problem.what, problem.cure, path) from None
    if "truncated" in str(error).lower() or is_cut(data):
        with suppress(Exception):
            decoded = _decode_incomplete(path, max_pixels, data)
            share, bytes_lack = blank_share(decoded.image), lacking_bytes(data) / (lacking_bytes(data) + len(data))
            lacking = f"{share:.0%} of its rows are blank" if share >= 0.01 else "little of it is missing"
            if bytes_lack >= 0.01:  # decoders of WebP and AVIF invent what is missing: no row is blank
                lacking = f"{bytes_lack:.0%} of its bytes are missing"
            what = f"the image is incomplete: the file ends too early ({lacking})"
            damage = Oddity("image_truncated", what, "It is used as it is (data.truncated_images: accept)")
            return Decoded(decoded.image, decoded.format, decoded.oddities, damage)
        raise ImageProblem("image_truncated", f"the image cannot be decoded ({error})", REPLACE, path) from None
    cure = CONVERT if "not supported" in str(error) or "conversion from" in str(error) else REPLACE
    raise ImageProblem("image_unreadable", f"the image cannot be decoded ({error})", cure, path) from None


def _decode_incomplete(path: Path | str, max_pixels: float, data: bytes) -> Decoded:
    if source := completed(data):
        with decoding.shared():
            return _loaded(Image.open(source, formats=list(EXTENSIONS)), path, max_pixels)
    with decoding.alone():
        return _loaded(_open(data), path, max_pixels)


def _loaded(opened: Image.Image, path: Path | str, max_pixels: float) -> Decoded:
    """Load an opened image, after a look at its header."""
    with opened as image:
        _check_header(image, max_pixels, path)
        raw = raw_pixels(image)
        image.load()
        image_format = "JPEG" if image.format == "MPO" else image.format or ""
        rgb, oddities = to_rgb(image, raw)
        return Decoded(_to_upright(rgb, image), image_format, oddities)


def _find_hole(path: Path | str, image_format: str) -> Oddity | None:
    """The damage of a file part of whose data are zero bytes."""
    found = hole(path, image_format)
    if not found:
        return None
    what = f"the image is incomplete: bytes {found[0]:,} to {found[1]:,} of the file are zero"
    return Oddity("image_truncated", what, "It is used as it is (data.truncated_images: accept)")


def _find_blank_end(path: Path | str, image_format: str) -> list[Oddity]:
    """The oddity of an uncompressed picture whose file ends with zeros: black parts, or bytes that never came."""
    share = zero_end(path) if image_format in ("BMP", "TIFF") else 0.0
    if share < LONG_END:
        return []
    what = f"the last {share:.0%} of the file are zero bytes, which show as black"
    return [
        Oddity("image_zero_end", what, "Look at it; replace it with a complete file if that part should not be black")
    ]


def _what_it_is(path: Path | str) -> tuple[str, str]:
    """What a file is that is not an image of an accepted format, and the cure."""
    if kind := file_kind(path):
        is_table = "CSV" in kind.cure and "PNG" not in kind.cure
        return f"the file is {kind.name}", "Put the picture in its place" if is_table else kind.cure
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    if not head.strip(b"\0"):
        return f"the first {len(head):,} bytes of the file are zero", REPLACE
    if is_text(head):
        return (
            f"the file is a text that begins with {head.decode(errors='replace')[:40]!r}",
            "Put the picture in its place",
        )
    for mark, name in FIRST_BYTES.items():
        if head.startswith(mark) and (name != "WEBP" or head[8:12] == b"WEBP"):
            cure = f"{REPLACE}; if other programs show it, convert it to PNG with 8 or 16 bits per channel"
            return f"the file is a {name} that is damaged or of a kind that cannot be read", cure
    return f"the file is not an image in any of the formats {', '.join(EXTENSIONS)}", REPLACE


def _check_header(image: Image.Image, max_pixels: float, path: Path | str) -> None:
    """Refuse an image whose header declares an unusable size."""
    width, height = image.size
    if width < 1 or height < 1:
        what = f"the image has {width} x {height} pixels"
        raise ImageProblem("image_empty", what, REPLACE, path)
    if width * height > max_pixels:
        what = f"{width} x {height} pixels are more than {max_pixels}: a decompression bomb, or a very large scan"
        raise ImageProblem("image_bomb", what, "Make the image smaller, or raise data.max_image_pixels", path)


def _to_upright(rgb: Image.Image, image: Image.Image) -> Image.Image:
    """Turn and mirror `rgb` as the EXIF orientation of `image` says; broken EXIF counts as none, as in every viewer."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # a broken tag can raise any kind of error
        orientation = 1
    # Not ImageOps.exif_transpose: it rewrites the other tags, and fails where one of them is broken.
    return rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb


@lru_cache(maxsize=1)
def _silence_libtiff() -> None:
    """Keep libtiff from writing to the terminal: what is wrong with a file is reported once, by its name."""
    with suppress(OSError, AttributeError):
        library: Any = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)
