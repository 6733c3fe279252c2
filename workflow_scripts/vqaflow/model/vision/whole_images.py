"""Towers in which every patch of an image attends to all patches of that image, without an autograd graph.

On a GPU most of them run as `whole_tower` computes them, the others through the library. The library calls attention
once per image and layer, unless an implementation takes the boundaries of all images at once. The one of `windows`
does, and computes images of equal size in one call.

Shapes: N patches of all images, H hidden size of the decoder.
"""

from collections.abc import Sequence
from typing import Any

import torch

from vqaflow.model.vision.whole_tower import can_fuse, whole_forward
from vqaflow.model.vision.windows import Grid, segment_groups


def whole_image_features(visual: Any, patches: Sequence[torch.Tensor], grids: Sequence[Grid]) -> list[torch.Tensor]:
    """Features (visual tokens, (1 + levels) x H) of each image from its patches, under no_grad, in the tower's dtype.

    A tower with DeepStack gives several levels; they stand side by side after the image's tokens.
    """
    weight = visual.patch_embed.proj.weight
    counts = [t * h * w // visual.config.spatial_merge_size**2 for t, h, w in grids]
    pixels = torch.cat([p.to(weight.device, non_blocking=True).to(weight.dtype) for p in patches])
    with torch.no_grad():
        merged = whole_forward(visual, pixels, grids) if can_fuse(visual) else library_forward(visual, pixels, grids)
    return list(merged.split(counts))


def library_forward(visual: Any, pixels: torch.Tensor, grids: Sequence[Grid]) -> torch.Tensor:
    """Features of all images from the library's forward, with one call of attention per size of image."""
    lengths = torch.tensor([h * w for t, h, w in grids for _ in range(t)])
    boundaries = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    segments = {len(lengths): [index.to(pixels.device) for index in segment_groups(boundaries)]}
    made = visual(pixels, grid_thw=torch.tensor(grids, device=pixels.device), segments=segments)
    levels = getattr(made, "deepstack_features", None) or []
    return torch.cat([made.pooler_output, *levels], dim=-1)
