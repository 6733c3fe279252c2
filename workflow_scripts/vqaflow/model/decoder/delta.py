"""A gated delta layer for training, with the state after a row's prefix handed to each of its branches.

The layer reads its input through a causal convolution over four tokens and a state that each token reads and updates.
So a branch (one choice order) continues two things of its prefix: the last three inputs of the convolution, and the
state. The prefix is computed once; gradients flow back through both.

Shapes: N tokens of the batch, B rows, K branches, M slots of all sequences with padding, H hidden size, C channels
and W taps of the convolution, G key heads and V value heads of size D.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import softplus

from vqaflow.model.decoder.layouts import TokenLayout
from vqaflow.model.decoder.projection import Projection, norm_weight
from vqaflow.model.decoder.sequences import Sequences, moved
from vqaflow.model.families.family import Family
from vqaflow.model.numerics.delta_kernels import rule_of
from vqaflow.model.numerics.delta_rule import causal_conv
from vqaflow.model.numerics.elementwise import Kernels


@dataclass(frozen=True)
class DeltaWeights:
    """The small frozen weights of a layer: decay, convolution (C, taps) and the norm of the output."""

    rate_V: torch.Tensor
    bias_V: torch.Tensor
    taps_CW: torch.Tensor
    norm: tuple[torch.Tensor, float]

    @classmethod
    def of(cls, layer: Any) -> "DeltaWeights":
        """The weights of the library's `layer`."""
        rate, taps = -layer.A_log.detach().float().exp(), layer.conv1d.weight.detach().squeeze(1)
        return cls(rate, layer.dt_bias.detach(), taps, norm_weight(layer.norm, zero_centred=False))


class DeltaBlock:
    """x + delta(norm(x)) of one layer."""

    def __init__(self, layer: Any, family: Family, kernels: Kernels) -> None:
        delta = layer.linear_attn
        self.kernels, self.weights = kernels, DeltaWeights.of(delta)
        self.norm, self.eps = norm_weight(layer.input_layernorm, family.zero_centred)
        self.qkvz = Projection([delta.in_proj_qkv, delta.in_proj_z])
        self.rates = Projection([delta.in_proj_b, delta.in_proj_a])
        self.out = Projection([delta.out_proj])
        self.projections = [self.qkvz, self.rates, self.out]
        self.parameters = [*self.qkvz.parameters, *self.rates.parameters, *self.out.parameters]
        self.key_heads, self.value_heads = delta.num_k_heads, delta.num_v_heads
        self.gradients = True  # whether any layer of the decoder has adapters to train: gradients then pass here too
        self.key_head, self.value_head = delta.head_k_dim, delta.head_v_dim

    def apply(self, x: torch.Tensor, layout: TokenLayout, angles: Any, ends: torch.Tensor | None) -> torch.Tensor:
        """(N, H) to (N, H), or to (len(ends), H); it has no positions, so `angles` is not read."""
        return DeltaFunction.apply(x, self, layout.sequences, ends, *self.parameters)

    def mixed(self, qkvz: torch.Tensor, rates: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """The layer's output (N, V·D) before its last projection, from the projections of all tokens."""
        channels = 2 * self.key_heads * self.key_head + self.value_heads * self.value_head
        qkv, z = qkvz.split([channels, qkvz.shape[1] - channels], dim=1)
        parts = moved(torch.cat([qkv, rates], dim=1), sequences.slots).split(sequences.sizes)
        parts = [part.unflatten(0, shape) for part, shape in zip(parts, sequences.shapes, strict=True)]
        out, state = self._read(parts[0], sequences.real[0], None, None)
        outs = [out.flatten(0, 1).flatten(1)]
        if len(parts) > 1:  # each branch goes on where its prefix ended
            copies = len(parts[1]) // len(parts[0])
            before = sequences.tails(parts[0][..., :channels], self.weights.taps_CW.shape[1] - 1)
            before, state = before.repeat_interleave(copies, 0), state.repeat_interleave(copies, 0)
            out, _ = self._read(parts[1], sequences.real[1], before, state)
            outs.append(out.flatten(0, 1).flatten(1))
        out_N = moved(torch.cat(outs), sequences.tokens)
        heads = (part.unflatten(1, (self.value_heads, -1)) for part in (out_N, z))
        return self.kernels.gated_norm(*heads, *self.weights.norm).flatten(1)

    def _read(
        self, part: torch.Tensor, real: torch.Tensor, before: torch.Tensor | None, state: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs (S, T, V, D) and last states of S sequences; padding changes no state.

        `part` (S, T, C + 2V) holds the convolution's inputs and the rates of writing and of decay.
        """
        weights = self.weights
        inputs, b, a = part.split([len(weights.taps_CW), self.value_heads, self.value_heads], dim=-1)
        convolved = causal_conv(inputs, weights.taps_CW, before)
        keys = self.key_heads * self.key_head
        q, k, v = convolved.split([keys, keys, convolved.shape[-1] - 2 * keys], dim=-1)
        q, k = (t.unflatten(-1, (self.key_heads, -1)) for t in (q, k))
        v = v.unflatten(-1, (self.value_heads, -1))
        # The product with `real` also keeps the gradients of padding at zero.
        beta = b.sigmoid() * real[..., None]
        decay = weights.rate_V * softplus(a.float() + weights.bias_V) * real[..., None]
        heads = (self.key_heads, self.value_heads, self.key_head, self.value_head)
        # Forward and backward are by the same rule.
        rule = rule_of(v.device, v.dtype, heads, self.gradients)
        return rule(q, k, v, decay, beta, state)


class DeltaFunction(torch.autograd.Function):
    """DeltaBlock, recomputed in backward; with `ends` only for the outputs of those tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        block: DeltaBlock,
        sequences: Sequences,
        ends: torch.Tensor | None,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """(N, H) to (N, H), or to (len(ends), H)."""
        ctx.save_for_backward(x)
        ctx.block, ctx.sequences, ctx.ends = block, sequences, ends
        normed = block.kernels.norm(x, block.norm, block.eps, block.qkvz.extra)
        qkvz = block.qkvz.forward(normed, block.qkvz.weight(x))
        rates = block.rates.forward(normed, block.rates.weight(x))
        mixed = block.mixed(qkvz, rates, sequences)
        mixed, residual = (mixed, x) if ends is None else (mixed[ends], x[ends])
        return block.out.forward(mixed, block.out.weight(x), residual)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        block, ends = ctx.block, ctx.ends
        (x,) = ctx.saved_tensors
        normed = block.kernels.norm(x, block.norm, block.eps, block.qkvz.extra)
        weight, small = block.qkvz.weight(x), block.rates.weight(x)
        leaves = [block.qkvz.forward(normed, weight), block.rates.forward(normed, small)]
        leaves = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            mixed = block.mixed(*leaves, ctx.sequences)
            mixed = mixed if ends is None else mixed[ends]
        grad = grad.contiguous()
        grad_mixed, out_grads = block.out.backward(grad, mixed.detach(), block.out.weight(x))
        grad_qkvz, grad_rates = torch.autograd.grad(mixed, leaves, grad_mixed)
        del mixed, leaves
        needed = ctx.needs_input_grad[0]
        grad_normed, grads = block.qkvz.backward(grad_qkvz, normed, weight, needed)
        grad_small, small_grads = block.rates.backward(grad_rates, normed, small, needed)
        grad_x = None
        if needed:
            residual = grad if ends is None else torch.zeros_like(x).index_copy_(0, ends, grad)
            grad_x = block.kernels.norm_backward(grad_normed + grad_small, x, block.norm, block.eps, residual)
        return grad_x, None, None, None, *grads, *small_grads, *out_grads
