"""The pictures that a view shows of an image: the whole image, its tiles, a grey one, or none.

Boxes are in the pixels of the upright image, mirrored before if the view mirrors: it is cut last.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from vqaflow.config.sections import GREY, TEXT, ViewConfig

Box = tuple[int, int, int, int]  # left, top, right, bottom
ZOOM = 2  # how many times a tile is enlarged
MOST_ASPECT = 16  # images whose tiles were thinner are shown whole: a thinner tile could be resized to nothing
NEUTRAL = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a prompt: `width` and `height` are those before it is resized; a tile's are enlarged already.

    `is_mirrored` says that the image is shown the other way round than the view shows it.
    """

    width: int
    height: int
    box: Box | None = None
    is_grey: bool = False
    is_mirrored: bool = False

    def key(self, sha256: str) -> str:
        """What tells the picture from all others that are resized alike; the digest of the image if it is whole."""
        if self.is_grey:
            return f"grey-{self.width}x{self.height}"
        return "-".join([sha256, *map(str, self.box or ()), *(["mirrored"] if self.is_mirrored else [])])

    def cut(self, image: Image.Image, width: int, height: int) -> Image.Image:
        """The tile's part of `image` at this size: resized once, from no pixel outside the box (as its `box` would)."""
        return image.crop(self.box).resize((width, height), Image.Resampling.BICUBIC)


def pictures_of(width: int, height: int, view: ViewConfig, mirrored: bool = False) -> tuple[Picture, ...]:
    """The pictures that `view` shows of an image of this size; none if it is blind or there is no image (width 0).

    `mirrored`: of an image that is the other way round than the view shows it.
    """
    if not width or view.blind == TEXT:
        return ()
    whole = Picture(width, height, is_grey=view.blind == GREY)
    pictures = (whole, *_tiles(width, height, view))
    return tuple(replace(picture, is_mirrored=True) for picture in pictures) if mirrored else pictures


def tokens_in_view(
    sizes: Iterable[tuple[int, int]], view: ViewConfig, count: Callable[[Sequence[tuple[int, int]]], Sequence[int]]
) -> list[int]:
    """The visual tokens of each image of these (width, height) in `view`; `count` gives those of single pictures."""
    shown = [pictures_of(*size, view) for size in sizes]
    tokens = iter(count([(picture.width, picture.height) for pictures in shown for picture in pictures]))
    return [sum(next(tokens) for _ in pictures) for pictures in shown]


def _tiles(width: int, height: int, view: ViewConfig) -> Iterator[Picture]:
    """The tiles, row by row; none if the image is too thin or too small for them."""
    rows, columns = view.shape
    boxes = [
        (*across, *down)
        for down in _spans(height, rows, view.overlap)
        for across in _spans(width, columns, view.overlap)
    ]
    sizes = [(right - left, bottom - top) for left, right, top, bottom in boxes]
    if len(boxes) > 1 and all(min(size) > 0 and max(size) <= MOST_ASPECT * min(size) for size in sizes):
        for (left, right, top, bottom), (wide, high) in zip(boxes, sizes, strict=True):
            yield Picture(ZOOM * wide, ZOOM * high, (left, top, right, bottom))


def _spans(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Starts and ends of `count` equal parts of a side; neighbours share about `overlap` of a part's length."""
    more = overlap * length / count / 2
    edges = [i * length / count for i in range(count + 1)]
    starts = [max(0, round(edge - more)) for edge in edges[:-1]]
    return list(zip(starts, [min(length, round(edge + more)) for edge in edges[1:]], strict=True))
