"""What an image costs: its visual tokens under a resolution policy, computed from its size only."""

from collections.abc import Iterable

from qwen_vl_utils import smart_resize

PATCH = 28  # pixels along the side of one visual token


def visual_grids(
    widths: Iterable[int], heights: Iterable[int], min_pixels: int, max_pixels: int
) -> list[tuple[int, int]]:
    """Rows and columns of visual tokens that each image of this size becomes; (0, 0) where there is none."""
    sizes = list(zip(widths, heights, strict=True))
    grids = {}
    for width, height in set(sizes):
        if width:
            high, wide = smart_resize(height, width, PATCH, min_pixels=min_pixels, max_pixels=max_pixels)
            grids[width, height] = high // PATCH, wide // PATCH
    return [grids.get(size, (0, 0)) for size in sizes]


def visual_tokens(widths: Iterable[int], heights: Iterable[int], min_pixels: int, max_pixels: int) -> list[int]:
    """How many tokens each image of this size becomes; 0 where there is none (width 0)."""
    return [rows * columns for rows, columns in visual_grids(widths, heights, min_pixels, max_pixels)]
