"""What an image costs: its visual tokens under a resolution policy, computed from its size only."""

import json
from collections.abc import Iterable
from pathlib import Path

QWEN2_PIXELS, PIXELS = 28, 32  # along the side of one visual token: in Qwen2-VL and Qwen2.5-VL, and in later models
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def token_pixels(base: str) -> int:
    """Pixels along the side of one visual token of the model `base`, a folder or a hub name.

    A folder's processor says it: patch size times merged patches. A name that is not a folder is judged by its family.
    """
    for name in PROCESSOR_FILES:
        file = Path(base) / name
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            found = found.get("image_processor", found)
            patch, merge = found.get("patch_size"), found.get("merge_size") or found.get("pooling_kernel_size")
            if isinstance(patch, int) and isinstance(merge, int):
                return patch * merge
    return QWEN2_PIXELS if "qwen2" in base.lower() else PIXELS


def visual_grids(
    widths: Iterable[int], heights: Iterable[int], pixels: int, min_pixels: int, max_pixels: int
) -> list[tuple[int, int]]:
    """Rows and columns of visual tokens that each image of this size becomes; (0, 0) where there is none.

    `pixels` are those along the side of one token.
    """
    from qwen_vl_utils import smart_resize  # loads torch

    sizes = list(zip(widths, heights, strict=True))
    grids = {}
    for width, height in set(sizes):
        if width:
            high, wide = smart_resize(height, width, pixels, min_pixels=min_pixels, max_pixels=max_pixels)
            grids[width, height] = high // pixels, wide // pixels
    return [grids.get(size, (0, 0)) for size in sizes]


def visual_tokens(
    widths: Iterable[int], heights: Iterable[int], pixels: int, min_pixels: int, max_pixels: int
) -> list[int]:
    """How many tokens each image of this size becomes; 0 where there is none (width 0)."""
    grids = visual_grids(widths, heights, pixels, min_pixels, max_pixels)
    return [rows * columns for rows, columns in grids]
