"""The frozen vision tower: from image patches to features, without an autograd graph.

The library's tower calls attention once per window (48 times per image and layer at 768 visual tokens), and a GPU waits
for the launches. The attention function here, registered with the library, computes windows of equal length in one
call. What depends only on the grid is computed once per grid.

Shapes: N patches of all images, D size of a head, H hidden size of the decoder.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from vqaflow.model.vision.fused_tower import tower_of

Grid = tuple[int, int, int]
# The library hands cumulative segment lengths, instead of looping, to implementations whose name contains "flash".
WINDOW_ATTENTION = "vqaflow_windows_flash"


def window_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    scaling: float,
    segments: dict[int, list[torch.Tensor]],
    cu_seq_lens_q: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within segments: query, key, value (1, heads, N, D) to (1, N, heads, D), one call per length.

    `segments` maps a number of segments to index tensors (count, length), one per length. The number identifies the
    segments: windows are parts of images, so if there are as many windows as images, both are the same.
    """
    out = torch.empty_like(query[0].transpose(0, 1))
    for index in segments[len(cu_seq_lens_q) - 1]:
        q, k, v = (t[0][:, index].transpose(0, 1) for t in (query, key, value))
        out[index] = scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2)
    return out[None], None


AttentionInterface.register(WINDOW_ATTENTION, window_attention)


def use_window_attention(visual: Any) -> None:
    """Make the tower `visual` group its windows (call once, after loading)."""
    visual.config._attn_implementation = WINDOW_ATTENTION


@lru_cache(maxsize=256)
def grid_arguments(grids: tuple[Grid, ...], merge: int, window: int, patch: int, device: str) -> dict[str, Any]:
    """Keyword arguments for the tower's forward that it would otherwise derive from the images' grids."""
    grid_thw = torch.tensor(grids)
    lengths = torch.tensor([h * w for t, h, w in grids for _ in range(t)])
    cu_seqlens = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()
    window_index, cu_window_seqlens = get_vision_window_index(grid_thw, merge, window, patch)
    segments = {len(cu) - 1: segment_groups(cu) for cu in (cu_window_seqlens, cu_seqlens)}
    return {
        "grid_thw": grid_thw.to(device),
        "position_ids": get_vision_position_ids(grid_thw, merge).to(device),
        "cu_seqlens": cu_seqlens.to(device),
        "window_index": window_index.to(device),
        "cu_window_seqlens": cu_window_seqlens.to(device),
        "max_seqlen": int(lengths.max()),
        "max_window_seqlen": int(cu_window_seqlens.diff().max()),
        "segments": {n: [index.to(device) for index in groups] for n, groups in segments.items()},
    }


def segment_groups(cumulative: torch.Tensor) -> list[torch.Tensor]:
    """Token indices of the segments between `cumulative` boundaries: one (count, length) tensor per length."""
    starts, lengths = cumulative[:-1].long(), cumulative.diff().long()
    return [
        starts[lengths == length][:, None] + torch.arange(int(length))
        for length in lengths.unique(sorted=True).tolist()
    ]


def image_features(visual: Any, pixels: Sequence[torch.Tensor], grids: Sequence[Grid]) -> list[torch.Tensor]:
    """Features (visual tokens, H) of each image from its patches (h·w, 1176), under no_grad, in the tower's dtype."""
    config = visual.config
    weight = visual.patch_embed.proj.weight
    arguments = grid_arguments(
        tuple(grids), config.spatial_merge_size, config.window_size, config.patch_size, str(weight.device)
    )
    patches = torch.cat([p.to(weight.device, non_blocking=True).to(weight.dtype) for p in pixels])
    with torch.no_grad():
        # On a CPU the library's forward is as fast; the weights of a quantised tower cannot be rearranged.
        if weight.is_cuda and visual.blocks[0].mlp.gate_proj.weight.is_floating_point():
            merged = tower_of(visual).forward(patches, arguments)
        else:
            merged = visual(patches, **arguments).pooler_output
    counts = [t * h * w // config.spatial_merge_size**2 for t, h, w in grids]
    return list(merged.split(counts))
