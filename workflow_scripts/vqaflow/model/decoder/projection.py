"""Linears with adapters as matrix products, forward and backward; quantised weights are expanded when needed.

Shapes: N tokens of the batch, I inputs and O outputs of a projection, R ranks of its adapters in total (r of one).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import linear

Grads = list[torch.Tensor]


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
        if residual is None:
            out = linear(x, weight, self.bias)
        else:
            out = torch.addmm(residual if self.bias is None else residual + self.bias, x, weight.T)
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
