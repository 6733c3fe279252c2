"""Towers in which every patch of an image attends to all patches of that image, without an autograd graph.

The library calls attention once per image and layer, unless an implementation takes the boundaries of all images at
once. The one of `windows` does, and computes images of equal size in one call.

Shapes: N patches of all images, H hidden size of the decoder.
"""

from collections.abc import Sequence
from typing import Any

import torch

from vqaflow.model.vision.windows import Grid, segment_groups


def whole_image_features(visual: Any, patches: Sequence[torch.Tensor], grids: Sequence[Grid]) -> list[torch.Tensor]:
    """Features (visual tokens, (1 + levels) x H) of each image from its patches, under no_grad, in the tower's dtype.

    A tower with DeepStack gives several levels; they stand side by side after the image's tokens.
    """
    weight = visual.patch_embed.proj.weight
    lengths = torch.tensor([h * w for t, h, w in grids for _ in range(t)])
    boundaries = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    segments = {len(lengths): [index.to(weight.device) for index in segment_groups(boundaries)]}
    pixels = torch.cat([p.to(weight.device, non_blocking=True).to(weight.dtype) for p in patches])
    with torch.no_grad():
        made = visual(pixels, grid_thw=torch.tensor(grids, device=weight.device), segments=segments)
    levels = getattr(made, "deepstack_features", None) or []
    merged = torch.cat([made.pooler_output, *levels], dim=-1)
    return list(merged.split([t * h * w // visual.config.spatial_merge_size**2 for t, h, w in grids]))
