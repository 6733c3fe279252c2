"""The decoder as training wants it: PEFT's adapters and the base's weights, computed with little memory and few passes.

Each layer is two differentiable blocks that keep nothing but their input and recompute what backward needs. What the
library's layers, run under gradient checkpointing, do on top is left out:

- the down and output projections are not recomputed (backward needs their inputs only), and an MLP block may keep its
  gate and up products where memory is left, which saves most of the rest;
- quantised weights are expanded once for recomputation and backward together, never for weight gradients;
- projections that read the same input (q, k, v; gate, up) are one matrix product, their adapters too;
- the last layer goes on after its keys and values with the answers' positions alone: nobody reads the others;
- norms, rotation and gating can be compiled into single kernels (`train.compile`).

The function computed is the one of the library with PEFT's layers, to rounding (test_fused_decoder.py).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from vqaflow.base_model import Base
from vqaflow.kernels import Kernels, rms_norm
from vqaflow.layouts import Layout

Grads = list[torch.Tensor]


class Projection:
    """Linears that read the same input, as one matrix product (N, I) to (N, O), with their adapters."""

    def __init__(self, linears: Sequence[Any]) -> None:
        self.bases = [getattr(module, "base_layer", module) for module in linears]
        self.sizes = [base.out_features for base in self.bases]
        self.inputs = self.bases[0].in_features
        adapted = [hasattr(module, "lora_A") for module in linears]
        self.adapted = [i for i, has in enumerate(adapted) if has]
        self.parameters: list[torch.nn.Parameter] = []
        self.scalings: list[float] = []
        for i in self.adapted:
            module = linears[i]
            self.parameters += [module.lora_A["default"].weight, module.lora_B["default"].weight]
            self.scalings.append(module.scaling["default"])
        self.quantized = hasattr(self.bases[0].weight, "quant_state")
        self.bias = None
        if self.bases[0].bias is not None:
            self.bias = torch.cat([base.bias.detach() for base in self.bases])
        self.plain = None if self.quantized else self._joined_weights()
        # An adapter that scoring merges into the weights, a pass at a time: A (R, I) and scaled B (O, R).
        self.delta: tuple[torch.Tensor, torch.Tensor] | None = None

    def _joined_weights(self) -> torch.Tensor:
        """The weights below each other; the modules' own become views into them, so that they exist once."""
        if len(self.bases) == 1:
            return self.bases[0].weight.detach()
        joined = torch.cat([base.weight.detach() for base in self.bases])
        for base, part in zip(self.bases, joined.split(self.sizes), strict=True):
            base.weight.data = part
        return joined

    def weight(self, like: torch.Tensor) -> torch.Tensor:
        """(O, I) in the dtype of `like`, expanded from NF4 if need be, `delta` added."""
        if self.plain is not None:
            return self.plain if self.delta is None else torch.addmm(self.plain, self.delta[1], self.delta[0])
        import bitsandbytes.functional as bnb

        out = torch.empty(sum(self.sizes), self.inputs, dtype=like.dtype, device=like.device)
        for base, part in zip(self.bases, out.split(self.sizes), strict=True):
            assert base.weight.quant_state.dtype is like.dtype, "model.compute_dtype must be the quantised layers'"
            if part.is_cuda:
                bnb.dequantize_4bit(base.weight.data, base.weight.quant_state, out=part)
            else:
                part.copy_(bnb.dequantize_4bit(base.weight.data, base.weight.quant_state))
        return out if self.delta is None else out.addmm_(self.delta[1], self.delta[0])

    def adapters(self, parameters: Sequence[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """All A below each other (R, I), and all scaled B on a diagonal (O, R), so that one product each serves all."""
        a_RI = torch.cat([a.to(dtype) for a in parameters[0::2]])
        b_OR = a_RI.new_zeros(sum(self.sizes), a_RI.shape[0])
        for rows, columns, b, scaling in zip(*self._blocks(parameters), parameters[1::2], self.scalings, strict=True):
            b_OR[rows, columns] = (b * scaling).to(dtype)
        return a_RI, b_OR

    def _blocks(self, parameters: Sequence[torch.Tensor]) -> tuple[list[slice], list[slice]]:
        """Where each adapter stands among the outputs and among the ranks."""
        starts = [sum(self.sizes[:i]) for i in self.adapted]
        rows = [slice(start, start + self.sizes[i]) for start, i in zip(starts, self.adapted, strict=True)]
        columns, at = [], 0
        for a in parameters[0::2]:
            columns.append(slice(at, at + a.shape[0]))
            at += a.shape[0]
        return rows, columns

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        parameters: Sequence[torch.Tensor],
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The projections' outputs side by side, added to `residual` if there is one."""
        out = linear(x, weight, self.bias) if residual is None else torch.addmm(residual, x, weight.T)
        if parameters:
            a_RI, b_OR = self.adapters(parameters, x.dtype)
            out.addmm_(x @ a_RI.T, b_OR.T)
        return out

    def backward(
        self,
        grad: torch.Tensor,
        x: torch.Tensor,
        weight: torch.Tensor,
        parameters: Sequence[torch.Tensor],
        input_needed: bool = True,
    ) -> tuple[torch.Tensor | None, Grads]:
        """The gradient (N, I) for x, if needed, and those of the adapters' weights, float32."""
        grads: Grads = []
        inner_NR = None
        if parameters:
            a_RI, b_OR = self.adapters(parameters, x.dtype)
            read_NR, inner_NR = x @ a_RI.T, grad @ b_OR
            grad_a_RI = (inner_NR.T @ x).float()
            for rows, columns, scaling in zip(*self._blocks(parameters), self.scalings, strict=True):
                grad_b = (grad[:, rows].T @ read_NR[:, columns]).float()
                grads += [grad_a_RI[columns], grad_b * scaling]
        if not input_needed:
            return None, grads
        grad_x = grad @ weight
        if inner_NR is not None:
            grad_x.addmm_(inner_NR, a_RI)
        return grad_x, grads


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

    def heads(
        self, x: torch.Tensor, weight: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], parameters: Any
    ) -> tuple[torch.Tensor, ...]:
        """The normed input, and queries, keys and values (N, heads, D) with positions applied."""
        normed = self.kernels.norm(x, self.norm, self.eps)
        parts = self.qkv.forward(normed, weight, parameters).split(self.qkv.sizes, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.head)) for part in parts)
        return normed, self.kernels.rotate(q, *angles), self.kernels.rotate(k, *angles), v


class MlpBlock:
    """x + mlp(norm(x)) of one layer; `keep` says whether the gate and up products are kept for backward."""

    def __init__(self, layer: Any, kernels: Kernels) -> None:
        self.kernels = kernels
        norm = layer.post_attention_layernorm
        self.norm, self.eps = norm.weight.detach(), norm.variance_epsilon
        self.gate_up = Projection([layer.mlp.gate_proj, layer.mlp.up_proj])
        self.down = Projection([layer.mlp.down_proj])
        self.parameters = [*self.gate_up.parameters, *self.down.parameters]
        self.keep = False


class AttentionFunction(torch.autograd.Function):
    """AttentionBlock, recomputed in backward; with `ends` only those tokens' outputs are wanted."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        block: AttentionBlock,
        layout: Layout,
        angles: tuple[torch.Tensor, torch.Tensor],
        ends: torch.Tensor | None,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """(N, H) to (N, H), or to (len(ends), H)."""
        ctx.save_for_backward(x, *parameters)
        ctx.block, ctx.layout, ctx.angles, ctx.ends = block, layout, angles, ends
        split = len(block.qkv.parameters)
        _, q, k, v = block.heads(x, block.qkv.weight(x), angles, parameters[:split])
        mixed = layout.attend(q, k, v) if ends is None else layout.attend_at_ends(q[ends], k, v)
        residual = x if ends is None else x[ends]
        return block.out.forward(mixed.flatten(1), block.out.weight(x), parameters[split:], residual)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block, ends = ctx.block, ctx.ends
        x, *parameters = ctx.saved_tensors
        split = len(block.qkv.parameters)
        weight = block.qkv.weight(x)
        normed, *qkv = block.heads(x, weight, ctx.angles, parameters[:split])
        q, k, v = (t.detach().requires_grad_() for t in qkv)
        with torch.enable_grad():
            mixed = ctx.layout.attend(q, k, v) if ends is None else ctx.layout.attend_at_ends(q[ends], k, v)
        grad = grad.contiguous()
        grad_mixed, out_grads = block.out.backward(
            grad, mixed.detach().flatten(1), block.out.weight(x), parameters[split:]
        )
        grad_q, grad_k, grad_v = torch.autograd.grad(mixed, (q, k, v), grad_mixed.view_as(mixed))
        cos, sin = ctx.angles
        unrotated = [block.kernels.rotate(g, cos, -sin) for g in (grad_q, grad_k)]
        grad_qkv = torch.cat([g.flatten(1) for g in (*unrotated, grad_v)], dim=-1)
        grad_normed, grads = block.qkv.backward(grad_qkv, normed, weight, parameters[:split], ctx.needs_input_grad[0])
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
        split = len(block.gate_up.parameters)
        normed = block.kernels.norm(x, block.norm, block.eps)
        gate_up = block.gate_up.forward(normed, block.gate_up.weight(x), parameters[:split])
        ctx.save_for_backward(x, gate_up if block.keep else None, *parameters)
        ctx.block = block
        return block.down.forward(block.kernels.gated(gate_up), block.down.weight(x), parameters[split:], x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block = ctx.block
        x, gate_up, *parameters = ctx.saved_tensors
        split = len(block.gate_up.parameters)
        normed = block.kernels.norm(x, block.norm, block.eps)
        weight = block.gate_up.weight(x)
        if gate_up is None:
            gate_up = block.gate_up.forward(normed, weight, parameters[:split])
        grad = grad.contiguous()
        grad_product, down_grads = block.down.backward(
            grad, block.kernels.gated(gate_up), block.down.weight(x), parameters[split:]
        )
        grad_gate_up = block.kernels.gated_backward(grad_product, gate_up)
        del gate_up, grad_product
        grad_normed, grads = block.gate_up.backward(grad_gate_up, normed, weight, parameters[:split])
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
        self.sections = model.config.rope_parameters["mrope_section"]
        assert model.config.hidden_act == "silu" and "sliding_attention" not in model.config.layer_types

    def keep_products(self, layers: int) -> None:
        """Let the last `layers` MLP blocks keep their gate and up products instead of recomputing them."""
        for i, (_, mlp) in enumerate(self.layers):
            mlp.keep = i >= len(self.layers) - layers

    def angles(self, positions_3N: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines (N, 1, D) of M-RoPE: each section of the frequencies turns by its own position."""
        turns_3NF = positions_3N[..., None].float() * self.inverse_frequencies.to(positions_3N.device)
        sections = turns_3NF.split(self.sections, dim=-1)
        turns_NF = torch.cat([section[i % 3] for i, section in enumerate(sections)], dim=-1)
        turns = torch.cat([turns_NF, turns_NF], dim=-1)[:, None]
        return turns.cos().to(dtype), turns.sin().to(dtype)

    def embed(self, layout: Layout, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Inputs (N, H): text from the embedding table, wherever it lies, and image features in their places.

        `features` are in the order of the rows, as the layouts' prefixes are.
        """
        device, dtype = self.base.device, self.base.dtype
        table = self.embedding.weight
        x_NH = torch.empty(len(layout.ids_N), table.shape[1], device=device, dtype=dtype)
        text = layout.ids_N[~layout.image_N].to(table.device)
        x_NH[(~layout.image_N).to(device)] = table[text].to(device=device, dtype=dtype, non_blocking=True)
        x_NH[layout.image_N.to(device)] = torch.cat(list(features)).to(device=device, dtype=dtype)
        return x_NH

    def answer_states(self, layout: Layout, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Hidden states (B, K, H) at the answer positions, after the final norm."""
        x = self.embed(layout, features)
        angles = self.angles(layout.positions_3N, x.dtype)
        ends = layout.ends_BK.flatten()
        for i, (attention, mlp) in enumerate(self.layers):
            rows = ends if i == len(self.layers) - 1 else None
            x = AttentionFunction.apply(x, attention, layout, angles, rows, *attention.parameters)
            x = MlpFunction.apply(x, mlp, *mlp.parameters)
        return rms_norm(x, self.norm, self.eps).unflatten(0, layout.ends_BK.shape)
