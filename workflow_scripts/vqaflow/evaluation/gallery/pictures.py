"""Pictures for a gallery: a small copy of each, and a large one, to look at closely, of as many as a page can hold."""

import base64
import io
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from PIL import Image

from vqaflow.data.images.decoding import open_image
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log

SMALL_EDGE, SMALL_QUALITY = 160, 50  # pixels, and quality of WebP
LARGE_PIXELS, LARGE_EDGE, LARGE_QUALITY = 640 * 480, 2048, 50  # a thin image keeps its length
PICTURES_AT_ONCE = 64


@dataclass(frozen=True)
class Picture:
    """A copy of an image: WebP in base64, and [width, height, the image's width, the image's height] in pixels."""

    data: str
    sizes: list[int]


@dataclass(frozen=True)
class Pictures:
    """Copies by the digest of the original. An image that is small itself has the same copy in both."""

    small: dict[str, Picture] = field(default_factory=dict)
    large: dict[str, Picture] = field(default_factory=dict)


def make_pictures(files: Mapping[str, str], limit: int) -> Pictures:
    """Copies of `files` (paths by digest), in their order, until those of a page of `limit` bytes are made.

    An image that cannot be read is left out and reported.
    """
    made, names, unreadable, small, large = Pictures(), list(files), [], 0, 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, ProgressBar(len(names), "pictures", "image") as bar:
        for start in range(0, len(names), PICTURES_AT_ONCE):
            batch = names[start : start + PICTURES_AT_ONCE]
            wants_large = large <= limit
            found = pool.map(copies, [files[name] for name in batch], [wants_large] * len(batch))
            for name, copied in zip(batch, found, strict=True):
                if isinstance(copied, UserError):
                    unreadable.append(copied)
                    continue
                made.small[name] = copied[0]
                small += len(copied[0].data)
                if wants_large:
                    made.large[name] = copied[-1]
                    large += len(copied[-1].data)
            bar.advance(len(batch))
            if small > limit:
                break
    if unreadable:
        log.warning("gallery: %d pictures cannot be read and are left out (%s)", len(unreadable), unreadable[0])
    return made


def copies(file: str, wants_large: bool) -> list[Picture] | UserError:
    """The small copy of an image and, if it is wanted and differs, the large one; or why it cannot be read."""
    try:
        image = open_image(file)
    except UserError as error:
        return error
    if max(image.size) <= SMALL_EDGE:
        return [encoded(image, image.size, LARGE_QUALITY)]
    found = [encoded(image, (SMALL_EDGE, SMALL_EDGE), SMALL_QUALITY)]
    return [*found, encoded(image, large_size(*image.size), LARGE_QUALITY)] if wants_large else found


def large_size(width: int, height: int) -> tuple[int, int]:
    """The size of the large copy of an image: its shape, with at most `LARGE_PIXELS` and no edge over `LARGE_EDGE`."""
    scale = min(1.0, math.sqrt(LARGE_PIXELS / (width * height)), LARGE_EDGE / max(width, height))
    return max(1, round(scale * width)), max(1, round(scale * height))


def encoded(image: Image.Image, edges: tuple[int, int], quality: int) -> Picture:
    """A copy of at most this width and height."""
    copied, buffer = image.copy(), io.BytesIO()
    copied.thumbnail(edges)
    copied.save(buffer, "WEBP", quality=quality, method=4)
    return Picture(base64.b64encode(buffer.getvalue()).decode("ascii"), [*copied.size, *image.size])
