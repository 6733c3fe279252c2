"""The vision tower's forward in few kernels, with the library's weights and, up to rounding, its results.

Why it is faster on a GPU than the library's: attention windows of different lengths go through one FlashAttention call
(without FlashAttention, windows of equal length do); the MLP's inner size, 3420, is padded with zeros to a size that
suits the matrix units; gate and up are one matrix product; rotation and norms are the decoder's kernels.

Shapes: N patches of all images, H width of the tower (of features: the decoder's), D size of a head, S segments.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from vqaflow.model.numerics.elementwise import Kernels
from vqaflow.model.numerics.flash_attention import has_flash_attention

# The fast kernels only read half-precision matrices whose rows start at multiples of 16 bytes.
ALIGNED, PADDED_TO = 8, 128
# A padding unit of the MLP with only these biases of gate and up is silu(16) / 16 = 1: its down weights are a bias.
UNIT_GATE, UNIT_UP = 16.0, 0.0625


@dataclass(frozen=True)
class Segments:
    """Which patches attend to each other: boundaries (S + 1), and indices (count, length), one tensor per length.

    `equal` is the number of segments if all have one length and stand one after the other, else 0.
    """

    cumulative: torch.Tensor
    longest: int
    groups: list[torch.Tensor]
    equal: int = 0


class TowerBlock:
    """One block of the tower: x + attention(norm(x)), then x + mlp(norm(x)), for x of (N, H)."""

    def __init__(self, block: Any, kernels: Kernels) -> None:
        self.kernels = kernels
        self.norms = [(norm.weight.detach(), norm.variance_epsilon) for norm in (block.norm1, block.norm2)]
        self.qkv, self.out = block.attn.qkv, block.attn.proj
        self.heads, self.scale = block.attn.num_heads, block.attn.scaling
        self.inner = block.mlp.gate_proj.out_features
        self.padding = 0 if self.inner % ALIGNED == 0 else -self.inner % PADDED_TO
        self._lay_out(block.mlp)

    def _lay_out(self, mlp: Any) -> None:
        """Pad and join the MLP's weights. The modules' own become views into them, so memory holds them once."""
        parts, padding = [mlp.gate_proj, mlp.up_proj], self.padding
        self.gate_up = torch.cat([pad(part.weight.detach(), (0, 0, 0, padding)) for part in parts])
        biases = [pad(part.bias.detach(), (0, padding)) for part in parts]
        self.down, self.down_bias = mlp.down_proj.weight.detach(), mlp.down_proj.bias.detach()
        if padding:
            for bias, unit in zip(biases, (UNIT_GATE, UNIT_UP), strict=True):
                bias[self.inner] = unit
            self.down = torch.cat(
                [self.down, self.down_bias[:, None], self.down.new_zeros(len(self.down), padding - 1)], 1
            )
        self.gate_up_bias = torch.cat(biases)
        for part, rows in zip(parts, self.gate_up.split(self.inner + padding), strict=True):
            part.weight.data = rows[: self.inner]
        mlp.down_proj.weight.data = self.down[:, : self.inner]

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, segments: Segments) -> torch.Tensor:
        """(N, H) to (N, H); cos and sin are (N, 1, D)."""
        kernels = self.kernels
        qkv = linear(kernels.norm(x, *self.norms[0]), self.qkv.weight, self.qkv.bias)
        heads, count = qkv.unflatten(1, (3 * self.heads, -1)), self.heads
        q, k = kernels.rotate(heads[:, : 2 * count], cos, sin).split(count, dim=1)
        v = heads[:, 2 * count :]
        mixed = attend_within(q, k, v, segments, self.scale)
        x = linear(mixed.flatten(1), self.out.weight, self.out.bias).add_(x)
        gate_up = linear(kernels.norm(x, *self.norms[1]), self.gate_up, self.gate_up_bias)
        out = torch.addmm(x, kernels.gated(gate_up), self.down.T)
        return out if self.padding else out.add_(self.down_bias)


def attend_within(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, segments: Segments, scale: float) -> torch.Tensor:
    """Attention (N, heads, D) within segments."""
    if has_flash_attention(q.device, q.dtype):
        cumulative, longest = segments.cumulative, segments.longest
        return torch.ops.aten._flash_attention_forward(
            q, k, v, cumulative, cumulative, longest, longest, 0.0, False, False, scale=scale
        )[0]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    for index in segments.groups:
        heads = [t[index].transpose(1, 2) for t in (q, k, v)]
        out[index] = scaled_dot_product_attention(*heads, scale=scale).transpose(1, 2)
    return out


class FusedTower:
    """The tower `visual`, from patches to merged features."""

    def __init__(self, visual: Any, kernels: Kernels | None = None) -> None:
        self.visual, self.kernels = visual, kernels or Kernels()
        self.blocks = [TowerBlock(block, self.kernels) for block in visual.blocks]
        self.patch_weight = visual.patch_embed.proj.weight.detach().flatten(1)

    @property
    def is_current(self) -> bool:
        """Whether the tower still has the weights that this was made from, at the same address and precision."""
        first = self.visual.blocks[0].mlp.gate_proj.weight
        return first.data_ptr() == self.blocks[0].gate_up.data_ptr() and first.dtype is self.blocks[0].gate_up.dtype

    def forward(self, patches: torch.Tensor, arguments: dict[str, Any]) -> torch.Tensor:
        """Features (visual tokens, H) in the images' order from patches (N, 1176) and `windows.grid_arguments`."""
        visual, window_index = self.visual, arguments["window_index"]
        x = self._by_window(linear(patches, self.patch_weight), window_index)
        angles = visual.rotary_pos_emb(x, arguments["position_ids"])
        cos, sin = (self._by_window(angle, window_index).to(x.dtype)[:, None] for angle in angles)
        groups = arguments["segments"]
        windows, whole = (
            Segments(arguments[cu], arguments[longest], groups[len(arguments[cu]) - 1])
            for cu, longest in (("cu_window_seqlens", "max_window_seqlen"), ("cu_seqlens", "max_seqlen"))
        )
        for i, block in enumerate(self.blocks):
            x = block.forward(x, cos, sin, whole if i in visual.fullatt_block_indexes else windows)
        norm = visual.merger.ln_q
        merged = visual.merger.mlp(self.kernels.norm(x, norm.weight, norm.variance_epsilon).view(len(window_index), -1))
        return torch.empty_like(merged).index_copy_(0, window_index, merged)

    def _by_window(self, values: torch.Tensor, window_index: torch.Tensor) -> torch.Tensor:
        """Rows of patches (N, …) in the order of their windows; the four patches of a visual token stay together."""
        return values.unflatten(0, (len(window_index), -1))[window_index].flatten(0, 1)


def tower_of(visual: Any) -> FusedTower:
    """The fused forward of `visual`, made on first use and again after the tower's weights were replaced."""
    fused = visual.__dict__.get("_fused_tower")
    if fused is None or not fused.is_current:
        fused = FusedTower(visual, kernels_of(visual))
        visual.__dict__["_fused_tower"] = fused
    return fused


def kernels_of(visual: Any) -> Kernels:
    """The kernels of `use_kernels`, else those as written."""
    return visual.__dict__.get("_fused_kernels") or Kernels()


def use_kernels(visual: Any, kernels: Kernels) -> None:
    """Make the fused forward of `visual` use `kernels`."""
    visual.__dict__["_fused_kernels"] = kernels
    visual.__dict__.pop("_fused_tower", None)
