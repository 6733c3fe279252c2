"""The only place that opens image files: checks, training and scoring see the same pixels.

The content decides an image's format, never the file's extension. Pixels are RGB as a viewer shows them: upright
(EXIF orientation), transparent parts on white as in qwen-vl-utils, 16-bit greys scaled to 8 bits.
"""

import math
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

# The extensions of each accepted format. For others (EPS, PDF, …) Pillow would start programs or read metadata only.
EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"},
    "PNG": {".png", ".apng"},
    "WEBP": {".webp"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif"},
    "JPEG2000": {".jp2", ".j2k", ".jpx"},
}
MAX_ASPECT = 200  # qwen-vl-utils' resizer refuses more
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
_one_large_image = threading.Lock()


class ImageProblem(UserError):
    """Why an image cannot be used: `kind` is a code word, `what` and `cure` are for the reader."""

    def __init__(self, kind: str, what: str, cure: str, path: Path | str = "") -> None:
        super().__init__(f"{path}: {what}. {cure}" if path else f"{what}. {cure}")
        self.kind, self.what, self.cure = kind, what, cure


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is kept of a readable image: upright size in pixels; `oddity` is a problem that does not prevent its use."""

    sha256: str
    phash: str
    width: int
    height: int
    oddity: ImageProblem | None = None


def open_image(path: Path | str) -> Image.Image:
    """The image as upright RGB, fully decoded, of any size: `inspect_image` has accepted it into the tables.

    Raises ImageProblem (a UserError) if it cannot be decoded.
    """
    return _decode(path, math.inf)[0]


def inspect_image(path: Path | str, max_pixels: int) -> ImageFacts:
    """Digest, perceptual hash (imagehash.phash, 64 bits as 16 hex digits) and size of an image, decoded in full.

    Raises ImageProblem if `open_image` would, if the image has more than `max_pixels`, or if the resizer refuses its
    shape.
    """
    import imagehash

    with _one_large_image if math.prod(declared_size(path)) > LARGE_PIXELS else nullcontext():
        image, image_format = _decode(path, max_pixels)
        phash = str(imagehash.phash(image))
    width, height = image.size
    if max(image.size) / min(image.size) > MAX_ASPECT:
        what = f"one side is more than {MAX_ASPECT} times the other ({width} x {height} pixels)"
        raise ImageProblem("image_shape", what, "Crop the image; the resizer does not accept this shape", path)
    oddity = None
    suffix = Path(path).suffix.lower()
    if suffix not in EXTENSIONS[image_format]:
        what = f"the content is {image_format}, but the extension is {suffix or 'missing'}"
        oddity = ImageProblem("image_extension", what, "It is read by its content; rename it when convenient", path)
    return ImageFacts(file_digest(path), phash, width, height, oddity)


def declared_size(path: Path | str) -> tuple[int, int]:
    """Width and height from the file's header, before rotation; (0, 0) if it cannot be read."""
    try:
        with Image.open(path, formats=list(EXTENSIONS)) as image:
            return image.size
    except Exception:  # decoding reports what is wrong
        return 0, 0


def _decode(path: Path | str, max_pixels: float) -> tuple[Image.Image, str]:
    """The upright RGB image and the name of its format, a key of EXTENSIONS."""
    replace = "Replace it with a complete file"
    try:
        if Path(path).stat().st_size == 0:
            raise ImageProblem("image_empty", "the file is empty", replace, path)
        with Image.open(path, formats=list(EXTENSIONS)) as image:
            _check_header(image, max_pixels, path)
            image.load()
            image_format = "JPEG" if image.format == "MPO" else image.format or ""
            return _to_rgb(_to_upright(image), path), image_format
    except ImageProblem:
        raise
    except FileNotFoundError:
        raise ImageProblem("image_missing", "no such file", "Put it there", path) from None
    except UnidentifiedImageError:
        what = f"the file is not an image in any of the formats {', '.join(EXTENSIONS)}"
        raise ImageProblem("image_unreadable", what, replace, path) from None
    except Exception as error:  # decoders raise all kinds of errors on broken files
        kind = "image_truncated" if "truncated" in str(error).lower() else "image_unreadable"
        raise ImageProblem(kind, f"the image cannot be decoded ({error})", replace, path) from None


def _check_header(image: Image.Image, max_pixels: float, path: Path | str) -> None:
    """Refuse an image whose header declares an unusable size."""
    width, height = image.size
    if width < 1 or height < 1:
        what = f"the image has {width} x {height} pixels"
        raise ImageProblem("image_empty", what, "Replace it with a complete file", path)
    if width * height > max_pixels:
        what = f"{width} x {height} pixels are more than {max_pixels}: a decompression bomb, or a very large scan"
        raise ImageProblem("image_bomb", what, "Make the image smaller, or raise data.max_image_pixels", path)


def _to_upright(image: Image.Image) -> Image.Image:
    """Turn and mirror the image as its EXIF orientation says; broken EXIF counts as none, as in every viewer."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # a broken tag can raise any kind of error
        orientation = 1
    # Not ImageOps.exif_transpose: it rewrites the other tags, and fails where one of them is broken.
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _to_rgb(image: Image.Image, path: Path | str) -> Image.Image:
    """RGB: transparent modes are converted as in qwen-vl-utils, 16-bit greys are scaled (Pillow would clip them)."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        what = f"pixels of mode {image.mode} (32 bits) have no standard range of brightness"
        raise ImageProblem("image_unreadable", what, "Save the image with 8 or 16 bits per channel", path)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, (255, 255, 255))
    on_white.paste(image, mask=image.getchannel("A"))
    return on_white
