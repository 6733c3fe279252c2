"""A decoder layer's attention for training: it keeps only its input, and recomputes what backward needs.

Shapes: N tokens of the batch, H hidden size, Q query heads and G key-value heads of size D, F rotary frequencies.
"""

from dataclasses import dataclass
from typing import Any

import torch

from vqaflow.model.decoder.layouts import TokenLayout
from vqaflow.model.decoder.projection import Projection, norm_weight
from vqaflow.model.families.family import Family
from vqaflow.model.numerics.elementwise import Kernels

Angles = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # cosines, sines and negated sines (N, 1, 2F)


@dataclass(frozen=True)
class Heads:
    """What attention reads: queries (N, Q, D), keys and values (N, G, D), and maybe a gate (N, Q, D) of its output.

    normed (N, H, and the columns of Projection.read) is the block's input after its norm; unrotated (N, Q + G, D) are
    queries and keys as projected.
    """

    normed: torch.Tensor
    unrotated: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    gate: torch.Tensor | None

    def mixed(self, layout: TokenLayout, ends: torch.Tensor | None) -> torch.Tensor:
        """Attention's output (N, Q, D), or (len(ends), Q, D)."""
        if ends is None:
            out = layout.attend(self.queries, self.keys, self.values)
            return out if self.gate is None else out * torch.sigmoid(self.gate)
        out = layout.attend_at_ends(self.queries[ends], self.keys, self.values)
        return out if self.gate is None else out * torch.sigmoid(self.gate[ends])


class AttentionBlock:
    """x + attention(norm(x)) of one layer."""

    def __init__(self, layer: Any, family: Family, kernels: Kernels) -> None:
        attention = layer.self_attn
        self.kernels = kernels
        self.norm, self.eps = norm_weight(layer.input_layernorm, family.zero_centred)
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = Projection([attention.o_proj])
        self.projections = [self.qkv, self.out]
        self.parameters = [*self.qkv.parameters, *self.out.parameters]
        self.head, self.gated = attention.head_dim, family.gated
        query_heads, self.groups, _ = (size // self.head for size in self.qkv.sizes)
        self.query_heads = query_heads // 2 if self.gated else query_heads
        self.head_norm: tuple[torch.Tensor, float] | None = None
        if hasattr(attention, "q_norm"):
            (q, eps), (k, _) = (norm_weight(n, family.zero_centred) for n in (attention.q_norm, attention.k_norm))
            counts = (self.query_heads, self.groups)
            self.head_norm = torch.cat([w.expand(n, -1) for w, n in zip((q, k), counts, strict=True)]), eps

    def heads(self, x: torch.Tensor, weight: torch.Tensor, angles: Angles) -> Heads:
        """Queries, keys and values of x (N, H), with positions applied."""
        normed = self.kernels.norm(x, self.norm, self.eps, self.qkv.extra)
        heads = self.qkv.forward(normed, weight).unflatten(-1, (-1, self.head))
        gate = None
        if self.gated:
            paired = heads[:, : 2 * self.query_heads].unflatten(1, (-1, 2))
            gate, after = paired[:, :, 1], heads[:, 2 * self.query_heads :]
            unrotated, values = torch.cat([paired[:, :, 0], after[:, : self.groups]], 1), after[:, self.groups :]
        else:
            unrotated, values = heads.split([self.query_heads + self.groups, self.groups], dim=1)
        if self.head_norm is None:
            turned = self.kernels.rotate(unrotated, *angles[:2])
        else:
            turned = self.kernels.norm_and_rotate(unrotated, *self.head_norm, *angles[:2])
        q, k = turned.split([self.query_heads, self.groups], dim=1)
        return Heads(normed, unrotated, q, k, values, gate)

    def grad_of_projection(self, grads: tuple[torch.Tensor, ...], heads: Heads, angles: Angles) -> torch.Tensor:
        """The gradient for the output of `qkv` from those for queries, keys, values and maybe the gate."""
        grad_q, grad_k, grad_v, *grad_gate = grads
        turned, back = torch.cat([grad_q, grad_k], dim=1), (angles[0], angles[2])
        if self.head_norm is None:
            unrotated = self.kernels.rotate(turned, *back)
        else:
            unrotated = self.kernels.norm_and_rotate_backward(turned, heads.unrotated, *self.head_norm, *back)
        if not grad_gate:
            return torch.cat([unrotated, grad_v], dim=1).flatten(1)
        grad_q, grad_k = unrotated.split([self.query_heads, self.groups], dim=1)
        paired = torch.stack([grad_q, grad_gate[0]], dim=2).flatten(1, 2)
        return torch.cat([paired, grad_k, grad_v], dim=1).flatten(1)

    def apply(self, x: torch.Tensor, layout: TokenLayout, angles: Angles, ends: torch.Tensor | None) -> torch.Tensor:
        """(N, H) to (N, H), or to (len(ends), H): the outputs of those tokens only."""
        return AttentionFunction.apply(x, self, layout, angles, ends, *self.parameters)


class AttentionFunction(torch.autograd.Function):
    """AttentionBlock, recomputed in backward; with `ends` only for the outputs of those tokens.

    The adapters' weights are arguments only to receive gradients; the computation reads the buffers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        block: AttentionBlock,
        layout: TokenLayout,
        angles: Angles,
        ends: torch.Tensor | None,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """(N, H) to (N, H), or to (len(ends), H)."""
        ctx.save_for_backward(x)
        ctx.block, ctx.layout, ctx.angles, ctx.ends = block, layout, angles, ends
        mixed = block.heads(x, block.qkv.weight(x), angles).mixed(layout, ends)
        return block.out.forward(mixed.flatten(1), block.out.weight(x), x if ends is None else x[ends])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block, layout, angles, ends = ctx.block, ctx.layout, ctx.angles, ctx.ends
        (x,) = ctx.saved_tensors
        weight = block.qkv.weight(x)
        heads = block.heads(x, weight, angles)
        parts = [heads.queries, heads.keys, heads.values, *([] if heads.gate is None else [heads.gate])]
        leaves = [part.detach().requires_grad_() for part in parts]
        with torch.enable_grad():
            gate = leaves[3] if heads.gate is not None else None
            mixed = Heads(heads.normed, heads.unrotated, *leaves[:3], gate).mixed(layout, ends)
        grad = grad.contiguous()
        grad_mixed, out_grads = block.out.backward(grad, mixed.detach().flatten(1), block.out.weight(x))
        grads_of_heads = torch.autograd.grad(mixed, leaves, grad_mixed.view_as(mixed))
        grad_qkv = block.grad_of_projection(grads_of_heads, heads, angles)
        grad_normed, grads = block.qkv.backward(grad_qkv, heads.normed, weight, ctx.needs_input_grad[0])
        grad_x = None
        if grad_normed is not None:
            residual = grad if ends is None else torch.zeros_like(x).index_copy_(0, ends, grad)
            grad_x = block.kernels.norm_backward(grad_normed, x, block.norm, block.eps, residual)
        return grad_x, None, None, None, None, *grads, *out_grads
