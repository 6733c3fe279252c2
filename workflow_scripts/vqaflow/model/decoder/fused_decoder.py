"""The decoder for training: the base's weights and PEFT's adapters, computed with little memory and few passes.

Each layer is two differentiable blocks that keep only their input and recompute what backward needs. Compared with the
library's layers under gradient checkpointing, this work is saved:

- the down and output projections are not recomputed (backward needs only their inputs), and an MLP block may keep its
  gate and up products if there is memory, which saves most of the other recomputation;
- quantised weights are expanded once for recomputation and backward together, never for weight gradients;
- projections that read the same input (q, k, v; gate, up) are one matrix product, and so are their adapters;
- the last layer computes keys and values for all tokens, and the rest only for the answers' positions;
- norms, rotation and gating can be compiled into single kernels (`train.compile`).

The result is that of the library with PEFT's layers, up to rounding (test_fused_decoder.py).

Shapes: N tokens of the batch, B rows, K branches (choice orders), H hidden size, D size of a head, I inputs and O
outputs of a projection, R ranks of its adapters in total (r of one), F rotary frequencies, 3 axes of M-RoPE.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from vqaflow.model.base import Base
from vqaflow.model.decoder.layouts import TokenLayout
from vqaflow.model.numerics.elementwise import Kernels, rms_norm

Grads = list[torch.Tensor]
Angles = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # cosines, sines and negated sines (N, 1, D)


class Projection:
    """Linears that read the same input, as one matrix product (N, I) to (N, O), with their adapters.

    The adapters' weights are in buffers of the compute dtype, which `FusedDecoder` fills before each forward pass:
    A of all linears stacked (R, I), times the scaling, and B of each linear (O_i, r).
    """

    def __init__(self, linears: Sequence[Any]) -> None:
        self.bases = [getattr(module, "base_layer", module) for module in linears]
        self.sizes, self.inputs = [base.out_features for base in self.bases], self.bases[0].in_features
        self.state = getattr(self.bases[0].weight, "quant_state", None)
        self.joined = self._joined_weights()
        self.absmax = torch.cat([absmax_of(base.weight.quant_state) for base in self.bases]) if self.quantized else None
        self.bias = None if self.bases[0].bias is None else torch.cat([base.bias.detach() for base in self.bases])
        self._hold_adapters([(i, module) for i, module in enumerate(linears) if hasattr(module, "lora_A")])
        # An adapter that scoring merges into the weights in each pass: A (R, I) and scaled B (O, R).
        self.delta: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def quantized(self) -> bool:
        """Whether the weights are NF4."""
        return self.state is not None

    def _joined_weights(self) -> torch.Tensor:
        """The stacked weights. The modules' own become views into them, so memory holds them once."""
        weights = [base.weight.data for base in self.bases]
        if len(weights) == 1:
            return weights[0]
        joined = torch.cat(weights)
        for base, part in zip(self.bases, joined.split([len(weight) for weight in weights]), strict=True):
            base.weight.data = part
        return joined

    def _hold_adapters(self, adapted: Sequence[tuple[int, Any]]) -> None:
        """Record the adapters of linears (number, PEFT's module) and their places, and make their buffers."""
        pairs = [(module.lora_A["default"].weight, module.lora_B["default"].weight) for _, module in adapted]
        self.parameters: list[torch.nn.Parameter] = [weight for pair in pairs for weight in pair]
        scalings = {module.scaling["default"] for _, module in adapted}
        assert len(scalings) <= 1, "the adapters of one projection share their scaling"
        self.scaling = scalings.pop() if scalings else 1.0
        starts, ranks = [sum(self.sizes[:i]) for i, _ in adapted], [len(a) for a, _ in pairs]
        self.rows = [slice(start, start + self.sizes[i]) for start, (i, _) in zip(starts, adapted, strict=True)]
        self.columns = [slice(sum(ranks[:i]), sum(ranks[: i + 1])) for i in range(len(ranks))]
        like = {"dtype": self.state.dtype if self.quantized else self.joined.dtype, "device": self.joined.device}
        self.a_RI = torch.empty(sum(ranks), self.inputs, **like)
        self.b_parts = [torch.empty(b.shape, **like) for _, b in pairs]

    @property
    def buffers(self) -> list[torch.Tensor]:
        """Where the adapters' weights go, in the order of `parameters`."""
        return [t for columns, b in zip(self.columns, self.b_parts, strict=True) for t in (self.a_RI[columns], b)]

    def weight(self, like: torch.Tensor) -> torch.Tensor:
        """The weight (O, I) in the dtype of `like`, expanded from NF4 if quantised, with `delta` added."""
        if self.state is None:
            return self.joined if self.delta is None else torch.addmm(self.joined, self.delta[1], self.delta[0])
        shape, state = (sum(self.sizes), self.inputs), self.state
        assert state.dtype is like.dtype, "model.compute_dtype must be that of the quantised layers"
        assert self.inputs % state.blocksize == 0, "rows must consist of whole NF4 blocks"
        expanded = torch.ops.bitsandbytes.dequantize_4bit(
            self.joined, self.absmax, state.blocksize, state.quant_type, shape, state.dtype
        )
        return expanded if self.delta is None else expanded.addmm_(self.delta[1], self.delta[0])

    def forward(self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """The projections' outputs side by side, added to `residual` if there is one."""
        out = linear(x, weight, self.bias) if residual is None else torch.addmm(residual, x, weight.T)
        if self.parameters:
            read_NR = x @ self.a_RI.T
            for rows, columns, b in zip(self.rows, self.columns, self.b_parts, strict=True):
                out[:, rows].addmm_(read_NR[:, columns], b.T)
        return out

    def backward(
        self, grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, input_needed: bool = True
    ) -> tuple[torch.Tensor | None, Grads]:
        """The gradient (N, I) for x, if needed, and the gradients for the adapters' weights."""
        grad_x = grad @ weight if input_needed else None
        if not self.parameters:
            return grad_x, []
        read_NR = x @ self.a_RI.T
        inner, grads_b = [], []
        for rows, columns, b in zip(self.rows, self.columns, self.b_parts, strict=True):
            inner.append(grad[:, rows] @ b)
            grads_b.append(grad[:, rows].T @ read_NR[:, columns])
        inner_NR = torch.cat(inner, dim=1)
        grad_a_RI = (inner_NR.T @ x).mul_(self.scaling)
        if grad_x is not None:
            grad_x.addmm_(inner_NR, self.a_RI)
        pairs = [(grad_a_RI[columns], grad_b) for columns, grad_b in zip(self.columns, grads_b, strict=True)]
        return grad_x, [part for pair in pairs for part in pair]


def absmax_of(state: Any) -> torch.Tensor:
    """The float32 scales of NF4 blocks, unpacked once: unpacking at each use is slow, and they are small."""
    if not state.nested:
        return state.absmax
    import bitsandbytes.functional as bnb

    return bnb.dequantize_blockwise(state.absmax, state.state2).float() + state.offset


class AttentionBlock:
    """x + attention(norm(x)) of one layer."""

    def __init__(self, layer: Any, kernels: Kernels) -> None:
        attention = layer.self_attn
        self.kernels = kernels
        self.norm, self.eps = layer.input_layernorm.weight.detach(), layer.input_layernorm.variance_epsilon
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = Projection([attention.o_proj])
        self.head = attention.head_dim
        self.parameters = [*self.qkv.parameters, *self.out.parameters]

    def heads(self, x: torch.Tensor, weight: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, ...]:
        """The normed input, and queries, keys and values (N, heads, D) with positions applied."""
        normed = self.kernels.norm(x, self.norm, self.eps)
        heads = self.qkv.forward(normed, weight).unflatten(-1, (-1, self.head))
        queries, keys, values = (size // self.head for size in self.qkv.sizes)
        q, k = self.kernels.rotate(heads[:, : queries + keys], *angles[:2]).split([queries, keys], dim=1)
        return normed, q, k, heads[:, -values:]


class MlpBlock:
    """x + mlp(norm(x)) of one layer; `keep` says whether it keeps the gate and up products for backward."""

    def __init__(self, layer: Any, kernels: Kernels) -> None:
        self.kernels = kernels
        norm = layer.post_attention_layernorm
        self.norm, self.eps = norm.weight.detach(), norm.variance_epsilon
        self.gate_up = Projection([layer.mlp.gate_proj, layer.mlp.up_proj])
        self.down = Projection([layer.mlp.down_proj])
        self.parameters = [*self.gate_up.parameters, *self.down.parameters]
        self.keep = False


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
        _, q, k, v = block.heads(x, block.qkv.weight(x), angles)
        mixed = layout.attend(q, k, v) if ends is None else layout.attend_at_ends(q[ends], k, v)
        return block.out.forward(mixed.flatten(1), block.out.weight(x), x if ends is None else x[ends])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block, ends, (cos, _, minus_sin) = ctx.block, ctx.ends, ctx.angles
        (x,) = ctx.saved_tensors
        weight = block.qkv.weight(x)
        normed, *qkv = block.heads(x, weight, ctx.angles)
        q, k, v = (t.detach().requires_grad_() for t in qkv)
        with torch.enable_grad():
            mixed = ctx.layout.attend(q, k, v) if ends is None else ctx.layout.attend_at_ends(q[ends], k, v)
        grad = grad.contiguous()
        grad_mixed, out_grads = block.out.backward(grad, mixed.detach().flatten(1), block.out.weight(x))
        grad_q, grad_k, grad_v = torch.autograd.grad(mixed, (q, k, v), grad_mixed.view_as(mixed))
        unrotated = block.kernels.rotate(torch.cat([grad_q, grad_k], dim=1), cos, minus_sin)
        grad_qkv = torch.cat([unrotated, grad_v], dim=1).flatten(1)
        grad_normed, grads = block.qkv.backward(grad_qkv, normed, weight, ctx.needs_input_grad[0])
        grad_x = None
        if grad_normed is not None:
            residual = grad if ends is None else torch.zeros_like(x).index_copy_(0, ends, grad)
            grad_x = block.kernels.norm_backward(grad_normed, x, block.norm, block.eps, residual)
        return grad_x, None, None, None, None, *grads, *out_grads


class MlpFunction(torch.autograd.Function):
    """MlpBlock, recomputed in backward unless it keeps its products."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, block: MlpBlock, *parameters: torch.Tensor) -> torch.Tensor:
        """(N, H) to (N, H)."""
        normed = block.kernels.norm(x, block.norm, block.eps)
        gate_up = block.gate_up.forward(normed, block.gate_up.weight(x))
        ctx.save_for_backward(x, gate_up if block.keep else None)
        ctx.block = block
        return block.down.forward(block.kernels.gated(gate_up), block.down.weight(x), x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block = ctx.block
        x, gate_up = ctx.saved_tensors
        normed = block.kernels.norm(x, block.norm, block.eps)
        weight = block.gate_up.weight(x)
        if gate_up is None:
            gate_up = block.gate_up.forward(normed, weight)
        grad = grad.contiguous()
        grad_product, down_grads = block.down.backward(grad, block.kernels.gated(gate_up), block.down.weight(x))
        grad_gate_up = block.kernels.gated_backward(grad_product, gate_up)
        del gate_up, grad_product
        grad_normed, grads = block.gate_up.backward(grad_gate_up, normed, weight)
        grad_x = block.kernels.norm_backward(grad_normed, x, block.norm, block.eps, grad)
        return grad_x, None, *grads, *down_grads


class FusedDecoder:
    """The decoder of `base` (its adapter included, if any), from token ids and image features to answer states."""

    def __init__(self, base: Base, compile_kernels: bool = False) -> None:
        model = base.language_model
        kernels = Kernels.compiled() if compile_kernels else Kernels()
        self.base, self.embedding, self.kernels = base, model.embed_tokens, kernels
        self.layers = [(AttentionBlock(layer, kernels), MlpBlock(layer, kernels)) for layer in model.layers]
        self.norm, self.eps = model.norm.weight.detach(), model.norm.variance_epsilon
        self.inverse_frequencies = model.rotary_emb.inv_freq.float()
        self.attention_scaling = model.rotary_emb.attention_scaling  # other than 1 with yarn
        self.sections = model.config.rope_parameters["mrope_section"]
        assert model.config.hidden_act == "silu" and "sliding_attention" not in model.config.layer_types
        products = [p for attention, mlp in self.layers for p in (attention.qkv, attention.out, mlp.gate_up, mlp.down)]
        self.adapted = [projection for projection in products if projection.parameters]

    def keep_products(self, layers: int) -> None:
        """Make the last `layers` MLP blocks keep their gate and up products instead of recomputing them."""
        for i, (_, mlp) in enumerate(self.layers):
            mlp.keep = i >= len(self.layers) - layers

    @torch.no_grad()
    def refresh_adapters(self) -> None:
        """Copy the adapters' weights into the projections' buffers, in two calls for all layers."""
        if self.adapted:
            buffers = [buffer for projection in self.adapted for buffer in projection.buffers]
            torch._foreach_copy_(buffers, [weight for projection in self.adapted for weight in projection.parameters])
            torch._foreach_mul_([p.a_RI for p in self.adapted], [p.scaling for p in self.adapted])

    def angles(self, positions_3N: torch.Tensor, dtype: torch.dtype) -> Angles:
        """M-RoPE's angles: each section of the frequencies turns by the position on its own axis."""
        turns_3NF = positions_3N[..., None].float() * self.inverse_frequencies.to(positions_3N.device)
        sections = turns_3NF.split(self.sections, dim=-1)
        turns_NF = torch.cat([section[i % 3] for i, section in enumerate(sections)], dim=-1)
        turns = torch.cat([turns_NF, turns_NF], dim=-1)[:, None]
        cos, sin = ((turn * self.attention_scaling).to(dtype) for turn in (turns.cos(), turns.sin()))
        return cos, sin, -sin

    def embed(self, layout: TokenLayout, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inputs (N, H): text from the embedding table (on any device) and image features in their places.

        `features` are in the order of the rows, like the prefixes in a layout.
        """
        device, dtype, table = self.base.device, self.base.dtype, self.embedding.weight
        text = table[layout.text_ids.to(table.device)].to(device=device, dtype=dtype)
        image = torch.cat(list(features)).to(device=device, dtype=dtype)
        return torch.cat([text, image]).index_select(0, layout.places_N)

    def answer_states(self, layout: TokenLayout, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, K, H) at the answer positions, after the final norm."""
        self.refresh_adapters()
        x = self.embed(layout, features)
        angles = self.angles(layout.positions_3N, x.dtype)
        ends = layout.ends_BK.flatten()
        for i, (attention, mlp) in enumerate(self.layers):
            rows = ends if i == len(self.layers) - 1 else None
            x = AttentionFunction.apply(x, attention, layout, angles, rows, *attention.parameters)
            x = MlpFunction.apply(x, mlp, *mlp.parameters)
        return rms_norm(x, self.norm, self.eps).unflatten(0, layout.ends_BK.shape)
