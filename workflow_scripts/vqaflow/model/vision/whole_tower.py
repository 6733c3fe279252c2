"""The forward of towers with full attention per image (Qwen3-VL, Qwen3.5), in few kernels.

It computes with the library's weights what the library computes, up to rounding. Why it is faster on a GPU: all images
go through one call of attention, rotation in float32 is one kernel, and GELU is computed where the matrix product
ends. What depends only on an image's grid is kept per grid.

Shapes: N patches of all images, H width of the tower, D size of a head, S images.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import embedding, linear
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from vqaflow.model.numerics.elementwise import Kernels
from vqaflow.model.numerics.flash_attention import (
    cumulative,
    equal_attention,
    has_equal_attention,
    has_flash_attention,
)
from vqaflow.model.vision.fused_tower import Segments, attend_within, kernels_of
from vqaflow.model.vision.windows import Grid, segment_groups

GELU = "gelu_pytorch_tanh"  # the activation that a matrix product on a GPU can end with
Facts = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def is_known(visual: Any) -> bool:
    """Whether `visual` is such a tower."""
    return hasattr(visual, "interpolation_mode") and visual.config.hidden_act == GELU


def can_fuse(visual: Any) -> bool:
    """Whether `visual` is such a tower, on a GPU, and not quantised. On a CPU the library's forward is as fast."""
    if not is_known(visual):
        return False
    weight = visual.blocks[0].mlp.linear_fc1.weight
    return weight.is_cuda and weight.is_floating_point()


@lru_cache(maxsize=256)
def grid_facts(grid: Grid, side: int, mode: str, align_corners: bool, merge: int, device: str) -> Facts:
    """Of an image's patches: places (N, 2), and indices and weights (N, 4) into the table of learned positions."""
    grid_thw = torch.tensor([grid])
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid_thw, side, mode=mode, align_corners=align_corners, spatial_merge_size=merge
    )
    places = get_vision_position_ids(grid_thw, merge)
    return places.int().to(device), indices.int().to(device), weights.to(device)


@lru_cache(maxsize=64)
def image_segments(grids: tuple[Grid, ...], device: str, grouped: bool) -> Segments:
    """Each frame of each image attends to itself; with indices by length if `grouped`."""
    lengths = [h * w for t, h, w in grids for _ in range(t)]
    boundaries = cumulative(lengths)
    groups = [index.to(device) for index in segment_groups(boundaries)] if grouped else []
    equal = len(lengths) if len(set(lengths)) == 1 else 0
    return Segments(boundaries.to(device), max(lengths), groups, equal)


def whole_forward(visual: Any, patches: torch.Tensor, grids: Sequence[Grid]) -> torch.Tensor:
    """Features (visual tokens, (1 + levels) x hidden size of the decoder) from patches (N, values of a patch)."""
    config, device, kernels = visual.config, str(patches.device), kernels_of(visual)
    facts = [
        grid_facts(
            grid,
            visual.num_grid_per_side,
            visual.interpolation_mode,
            visual.interpolation_align_corners,
            config.spatial_merge_size,
            device,
        )
        for grid in grids
    ]
    places, indices, weights = (torch.cat(parts) for parts in zip(*facts, strict=True))
    proj, grouped = visual.patch_embed.proj, not has_flash_attention(patches.device, patches.dtype)
    segments = image_segments(tuple(grids), device, grouped)
    x = linear(patches, proj.weight.flatten(1), proj.bias)
    x = kernels.add_interpolated(x, embedding(indices, visual.pos_embed.weight), weights)
    cos, sin = (angle[:, None] for angle in visual.rotary_pos_emb(x, places))  # float32, as in the library

    levels: list[torch.Tensor] = []
    stacked = getattr(visual, "deepstack_visual_indexes", [])
    for i, block in enumerate(visual.blocks):
        x = _attention(block.attn, block.norm1(x), cos, sin, segments, kernels).add_(x)
        x = block.mlp.linear_fc2(_first_product(block.mlp, block.norm2(x))).add_(x)
        if i in stacked:
            levels.append(visual.deepstack_merger_list[stacked.index(i)](x))
    merged = visual.merger(x)
    return torch.cat([merged, *levels], dim=-1) if levels else merged


def _attention(
    attention: Any, normed: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, segments: Segments, kernels: Kernels
) -> torch.Tensor:
    """Attention's output (N, H) for the block's input after its norm; cos and sin are (N, 1, D)."""
    count = attention.num_heads
    heads = attention.qkv(normed).unflatten(1, (3 * count, -1))
    q, k = kernels.rotate(heads[:, : 2 * count], cos, sin).split(count, dim=1)
    v = heads[:, 2 * count :]
    if segments.equal > 1 and has_equal_attention(q.device, q.dtype):  # for single images, new sizes cost too much
        mixed = equal_attention(q, k, v, segments.equal, attention.scaling)
    else:
        mixed = attend_within(q, k, v, segments, attention.scaling)
    return attention.proj(mixed.flatten(1))


def _first_product(mlp: Any, normed: torch.Tensor) -> torch.Tensor:
    """GELU of the MLP's first product. On a GPU the product's kernel computes it, before it rounds."""
    weight, bias = mlp.linear_fc1.weight, mlp.linear_fc1.bias
    if normed.is_cuda and normed.dtype is not torch.float32:
        return torch.ops.aten._addmm_activation(bias, normed, weight.T, use_gelu=True)
    return mlp.act_fn(linear(normed, weight, bias))
