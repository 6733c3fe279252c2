"""Linears with adapters as matrix products, forward and backward; quantised weights are expanded when needed.

On a GPU an adapter's share of time is mostly that of reading and writing large activations once more to add a product
of a few ranks. So there unquantised weights have the adapters' beside them, and one product computes both:

- more outputs than inputs: [W | B] (O, I + P). [x | x·Aᵀ] times its transpose is the output with the adapters'; a
  gradient times it is [g·W | g·B];
- else: [W; A] (O + P, I). [g | g·B] times it is the gradient for x with the adapters'.

FP8 weights are expanded for training, like NF4. For scoring they are multiplied as they are, with the adapter beside
them in 16 bits: merged, most of its small changes would be rounded away.

Shapes: N tokens of the batch, I inputs and O outputs of a projection, R ranks of its adapters in total (r of one), P
ranks with padding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

from vqaflow.model.numerics import fp8

Grads = list[torch.Tensor]
ROW = 64  # rows of [W | B] are multiples of so many values: matrix units read them fastest


def extends(weight: torch.Tensor) -> bool:
    """Whether adapters stand beside this weight: on a GPU. On a CPU nothing is gained."""
    return weight.is_cuda and weight.is_floating_point() and weight.dtype is not fp8.FP8


class Projection:
    """Linears that read the same input, as one matrix product (N, I) to (N, O), with their adapters.

    The adapters' weights are in buffers of the compute dtype, which `FusedDecoder` fills before each forward pass:
    A of all linears stacked (R, I), times the scaling, and B of each linear (O_i, r). `extra` is P if they stand beside
    W; then inputs may come with so many columns more, which `read` fills.
    """

    def __init__(self, linears: Sequence[Any]) -> None:
        self.bases = [getattr(module, "base_layer", module) for module in linears]
        self.sizes, self.inputs = [base.out_features for base in self.bases], self.bases[0].in_features
        self.state = getattr(self.bases[0].weight, "quant_state", None)
        self.is_fp8 = self.bases[0].weight.dtype is fp8.FP8
        self.scale_O1 = torch.cat([base.scale_O1 for base in self.bases]) if self.is_fp8 else None
        self.fp8_rows = fp8.quantized_rows  # or compiled: FusedDecoder's
        adapted = [(i, module) for i, module in enumerate(linears) if hasattr(module, "lora_A")]
        ranks = sum(len(module.lora_A["default"].weight) for _, module in adapted)
        extended = ranks > 0 and extends(self.bases[0].weight)
        is_wide = extended and (sum(self.sizes) > self.inputs or len(linears) > 1)
        self.extra = -ranks % ROW + ranks if is_wide else 0
        self.below = ranks if extended and not is_wide else 0
        self.joined = self._joined_weights()
        self.absmax = torch.cat([absmax_of(base.weight.quant_state) for base in self.bases]) if self.quantized else None
        self.bias = None if self.bases[0].bias is None else torch.cat([base.bias.detach() for base in self.bases])
        self._hold_adapters(adapted)
        # An adapter that scoring merges into the weights in each pass, or multiplies beside FP8 weights: A (R, I) and
        # scaled B (O, R).
        self.delta: tuple[torch.Tensor, torch.Tensor] | None = None

    @property
    def quantized(self) -> bool:
        """Whether the weights are NF4."""
        return self.state is not None

    def _joined_weights(self) -> torch.Tensor:
        """The stacked weights, with zeros where adapters go. The modules' own become views: memory holds them once."""
        weights = [base.weight.data for base in self.bases]
        if len(weights) == 1 and not self.extra and not self.below:
            return weights[0]
        if self.quantized:  # a column of blocks
            joined = torch.cat(weights)
            parts = joined.split([len(weight) for weight in weights])
        else:
            joined = weights[0].new_zeros(sum(self.sizes) + self.below, self.inputs + self.extra)
            parts = joined[: sum(self.sizes), : self.inputs].split(self.sizes)
        for base, weight, part in zip(self.bases, weights, parts, strict=True):
            base.weight.data = part if self.quantized else part.copy_(weight)
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
        dtype = self.state.dtype if self.quantized else self.joined.dtype
        like = {"dtype": self.bases[0].compute_dtype if self.is_fp8 else dtype, "device": self.joined.device}
        outputs = sum(self.sizes)
        if self.below:
            self.a_RI = self.joined[outputs:]
        else:  # rows of zeros for the padding
            self.a_RI = torch.zeros(self.extra or sum(ranks), self.inputs, **like)
        if self.extra:
            beside = self.joined[:, self.inputs :]
            self.b_parts = [beside[rows, columns] for rows, columns in zip(self.rows, self.columns, strict=True)]
        else:
            self.b_parts = [torch.empty(b.shape, **like) for _, b in pairs]

    @property
    def buffers(self) -> list[torch.Tensor]:
        """Where the adapters' weights go, in the order of `parameters`."""
        return [t for columns, b in zip(self.columns, self.b_parts, strict=True) for t in (self.a_RI[columns], b)]

    def weight(self, like: torch.Tensor) -> torch.Tensor:
        """The weight (O, I) in the dtype of `like`, expanded from NF4 if quantised, with `delta` added.

        It is (O, I + P) where adapters stand beside it. FP8 weights are expanded if there are adapters to train; else
        they come as they are, without `delta`.
        """
        if self.is_fp8:
            return fp8.expanded(self.joined, self.scale_O1, like.dtype) if self.parameters else self.joined
        if self.state is None:
            joined = self.joined[: sum(self.sizes)] if self.below else self.joined
            if self.delta is None:
                return joined
            assert not self.extra, "an adapter is merged into bases that have none of their own"
            return torch.addmm(joined, self.delta[1], self.delta[0])
        shape, state = (sum(self.sizes), self.inputs), self.state
        assert state.dtype is like.dtype, "model.compute_dtype must be that of the quantised layers"
        assert self.inputs % state.blocksize == 0, "rows must consist of whole NF4 blocks"
        expanded = torch.ops.bitsandbytes.dequantize_4bit(
            self.joined, self.absmax, state.blocksize, state.quant_type, shape, state.dtype
        )
        return expanded if self.delta is None else expanded.addmm_(self.delta[1], self.delta[0])

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """x (N, I) with what the adapters read (N, P) beside it; in place if x has the columns for it."""
        if x.shape[1] == self.inputs:
            return torch.cat([x, x @ self.a_RI.T], dim=1)
        torch.mm(x[:, : self.inputs], self.a_RI.T, out=x[:, self.inputs :])
        return x

    def forward(self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        """The projections' outputs side by side, added to `residual` if there is one."""
        if weight.dtype is fp8.FP8:
            return self._in_fp8(x, residual)
        if self.extra:
            x = self.read(x)
        elif x.shape[1] > self.inputs:
            x = x[:, : self.inputs]
        if residual is None:
            out = linear(x, weight, self.bias)
        else:
            out = torch.addmm(residual if self.bias is None else residual + self.bias, x, weight.T)
        if self.parameters and not self.extra:
            read_NR = x @ self.a_RI.T
            for rows, columns, b in zip(self.rows, self.columns, self.b_parts, strict=True):
                out[:, rows].addmm_(read_NR[:, columns], b.T)
        return out

    def _in_fp8(self, x: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
        """`forward` in FP8, with the adapter beside it in the dtype of x."""
        out = fp8.product(self.fp8_rows(x), self.joined, self.scale_O1, self.bias, x.dtype)
        if self.delta is not None:
            a_RI, b_OR = self.delta
            out.addmm_(x @ a_RI.T, b_OR.T)
        return out if residual is None else out.add_(residual)

    def backward(
        self, grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, input_needed: bool = True
    ) -> tuple[torch.Tensor | None, Grads]:
        """The gradient (N, I) for x, if needed, and the gradients for the adapters' weights.

        If x has the columns of `read`, they must be filled.
        """
        if self.extra and x.shape[1] == self.inputs:
            x = self.read(x)
        x, beside = x[:, : self.inputs], x[:, self.inputs :]
        if not self.parameters:
            return (grad @ weight if input_needed else None), []
        read_NR = beside if self.extra else x @ self.a_RI.T
        grad_x, inner_NR = self._inner(grad, weight, input_needed)
        grads_b = [
            product(grad[:, rows].T, read_NR[:, columns]) for rows, columns in zip(self.rows, self.columns, strict=True)
        ]
        grad_a_RI = product(inner_NR.T, x).mul_(self.scaling)
        pairs = [(grad_a_RI[columns], grad_b) for columns, grad_b in zip(self.columns, grads_b, strict=True)]
        return grad_x, [part for pair in pairs for part in pair]

    def _inner(
        self, grad: torch.Tensor, weight: torch.Tensor, input_needed: bool
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The gradient (N, I) for x, if needed, and that for what the adapters read (N, R or P)."""
        if self.extra and input_needed:
            grad_x, inner_NR = (grad @ weight).split([self.inputs, self.extra], dim=1)
            return grad_x.addmm_(inner_NR, self.a_RI), inner_NR
        if self.extra:
            return None, grad @ weight[:, self.inputs :]
        parts = [grad[:, rows] @ b for rows, b in zip(self.rows, self.b_parts, strict=True)]
        inner_NR = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        if not input_needed:
            return None, inner_NR
        if self.below:
            return torch.cat([grad, inner_NR], dim=1) @ self.joined, inner_NR
        return (grad @ weight).addmm_(inner_NR, self.a_RI), inner_NR


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The product that an adapter's gradient is: on a GPU it comes in float32, as the adapter, and is not rounded."""
    if left.is_cuda and left.dtype is not torch.float32:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left @ right


def absmax_of(state: Any) -> torch.Tensor:
    """The float32 scales of NF4 blocks, unpacked once: unpacking at each use is slow, and they are small."""
    if not state.nested:
        return state.absmax
    import bitsandbytes.functional as bnb

    return bnb.dequantize_blockwise(state.absmax, state.state2).float() + state.offset


class ProjectionFunction(torch.autograd.Function):
    """A projection as a differentiable function; it keeps only its input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, projection: Projection, *parameters: torch.Tensor) -> torch.Tensor:
        """(N, I) to (N, O)."""
        ctx.save_for_backward(x)
        ctx.projection = projection
        return projection.forward(x, projection.weight(x))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients for x and the adapters' weights."""
        (x,) = ctx.saved_tensors
        projection = ctx.projection
        grad_x, grads = projection.backward(grad.contiguous(), x, projection.weight(x), ctx.needs_input_grad[0])
        return grad_x, None, *grads


def project(x: torch.Tensor, projection: Projection) -> torch.Tensor:
    """`projection` of (N, I), differentiable for x and the adapters' weights."""
    return ProjectionFunction.apply(x, projection, *projection.parameters)


def norm_weight(norm: Any, zero_centred: bool) -> tuple[torch.Tensor, float]:
    """The weight that an RMSNorm of the library multiplies by, and its epsilon.

    Zero-centred norms multiply by 1 + weight, and do it in float32.
    """
    weight = norm.weight.detach()
    eps = norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps
    return (1 + weight.float() if zero_centred else weight), eps
