"""What an image costs: its visual tokens under a resolution policy, computed from its size only."""

import math
import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vqaflow.runtime.files import parse_json

# Along the side of one visual token: in Qwen2-VL and Qwen2.5-VL, and in the Qwen families since Qwen3-VL.
QWEN2_PIXELS, USUAL_PIXELS = 28, 32
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
MERGES = ("merge_size", "spatial_merge_size", "pooling_kernel_size")  # what processors and towers call it


def base_file(base: str, revision: str | None, name: str) -> Path | None:
    """The file `name` of a base: in its folder, or downloaded from the hub before. None if it is not on this machine.

    Never uses the network.
    """
    file: Any = Path(base) / name
    if not file.is_file() and HUB_NAME.fullmatch(base) and find_spec("huggingface_hub"):
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(base, name, revision=revision)
    return Path(file) if isinstance(file, str | Path) and Path(file).is_file() else None


def token_pixels(base: str, revision: str | None = None) -> int:
    """Pixels along the side of one visual token of the model `base`, a folder or a hub name.

    The processor's files say it, or config.json: patch size times merged patches. Of a base that has neither on this
    machine, its name decides, so that nothing changes once they are there.
    """
    for name in (*PROCESSOR_FILES, "config.json"):
        found = json_object(base_file(base, revision, name))
        vision = found.get("image_processor") or found.get("vision_config") or found
        if pixels := _patch_times_merge(vision, found.get("downsample_ratio")):
            return pixels
    return QWEN2_PIXELS if "qwen2" in base.lower() else USUAL_PIXELS


def json_object(file: Path | None) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none, or if it cannot be read."""
    try:
        value = parse_json(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _patch_times_merge(vision: Mapping[str, Any], ratio: float | None) -> int | None:
    """Pixels per visual token; `ratio` is that of the picture's sides after and before the projector."""
    patch = vision.get("patch_size")
    patch = patch[-1] if isinstance(patch, list) and patch else patch
    merge = next((vision[name] for name in MERGES if isinstance(vision.get(name), int)), None)
    merge = merge or (round(1 / ratio) if ratio else None)
    return patch * merge if isinstance(patch, int) and merge else None


def least_max_pixels(width: int, height: int, pixels: int, max_pixels: int) -> int | None:
    """The smallest max_pixels that an image of this size could be shown with, if `max_pixels` resizes a side to 0.

    None if it does not. As smart_resize of qwen-vl-utils, which rounds both sides down if the area is too large.
    """
    area = math.prod(max(pixels, round(side / pixels) * pixels) for side in (width, height))
    ratio = max(width, height) / min(width, height)
    if area <= max_pixels or min(width, height) >= pixels * math.sqrt(width * height / max_pixels):
        return None
    return math.ceil(ratio * pixels**2)


def tile_grid(width: int, height: int, tile: int, least: int, most: int) -> tuple[int, int]:
    """Columns and rows of the square tiles, `least` to `most` of them, into which an image of this size is cut.

    It is the grid whose shape is the nearest to the image's. Of equally near ones, it is the largest that has less than
    twice the image's area, else the smallest. This is what GotOcr2ImageProcessor of transformers does.
    """
    shape, best, nearest = width / height, (1, 1), float("inf")
    sides = range(1, most + 1)
    grids = [(columns, rows) for columns in sides for rows in sides if least <= columns * rows <= most]
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        distance = abs(shape - columns / rows)
        if distance < nearest or (distance == nearest and 2 * width * height > tile**2 * columns * rows):
            best, nearest = (columns, rows), distance
    return best


def visual_grids(
    widths: Iterable[int], heights: Iterable[int], pixels: int, min_pixels: int, max_pixels: int
) -> list[tuple[int, int]]:
    """Rows and columns of visual tokens that each image of this size becomes in the Qwen families; (0, 0): no image.

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
