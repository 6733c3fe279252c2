"""Elementwise operations of decoder and tower, forward and backward: as written here, or compiled into single kernels.

Shapes: N tokens or patches, H hidden size, D size of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.stage import log


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of (N, H), computed in float32; the product with the weight is made in the weight's dtype."""
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (weight * scaled.to(weight.dtype)).to(x.dtype)


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor
) -> torch.Tensor:
    """The gradient of rms_norm(x) for x, plus `residual`."""
    wide, g = x.float(), (grad * weight).float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    scaled = wide * inverse
    return (residual.float() + inverse * (g - scaled * (g * scaled).mean(-1, keepdim=True))).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of heads (N, heads, D) by angles (N, 1, ≤ D), which may leave the last values as they are.

    Passing -sin undoes it.
    """
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat([-right, left], dim=-1) * sin
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """SwiGLU of gate and up, side by side."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up


def gated_norm(x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of (N, heads, D) times SiLU of the gate, in float32; it is differentiable for both."""
    return (rms_norm(x, weight, eps) * silu(gate.float())).to(x.dtype)


def gated_backward(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """The gradient of `gated` for gate and up, side by side."""
    gate, up = (t.float() for t in gate_up.chunk(2, dim=-1))
    wide, open_ = grad.float(), torch.sigmoid(gate)
    slope = open_ * (1 + gate * (1 - open_))
    return torch.cat([wide * up * slope, wide * gate * open_], dim=-1).to(grad.dtype)


def gated_backward_in_place(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """`gated_backward` for eager mode: overwrites `gate_up`, and keeps no float32 values in memory."""
    gate, up = gate_up.chunk(2, dim=-1)
    grad_open = grad * up
    torch.mul(grad, silu(gate), out=up)
    gate.copy_(torch.ops.aten.silu_backward(grad_open, gate))
    return gate_up


@dataclass(frozen=True)
class Kernels:
    """The elementwise operations, as written above or compiled."""

    norm: Callable[..., torch.Tensor] = rms_norm
    norm_backward: Callable[..., torch.Tensor] = rms_norm_backward
    rotate: Callable[..., torch.Tensor] = rotate
    gated: Callable[..., torch.Tensor] = gated
    gated_backward: Callable[..., torch.Tensor] = gated_backward_in_place
    gated_norm: Callable[..., torch.Tensor] = gated_norm

    @classmethod
    def compiled(cls) -> "Kernels":
        """Compiled operations: one kernel per operation and width, for any number of tokens."""
        import torch._inductor.config as inductor  # takes a second, so it is imported only when needed

        # A few kernels do not need a pool of compiler processes, one per core: while the pool starts, the first dozen
        # batches run at a quarter of their speed.
        inductor.compile_threads = 1
        return cls(*map(compiled, (rms_norm, rms_norm_backward, rotate, gated, gated_backward, gated_norm)))


def compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`function`, compiled for any size of its tensors' first dimension.

    If all sizes were left open, kernels would divide by them at run time and be about five times slower.
    """
    kernel = torch.compile(function, dynamic=False)

    def run(*arguments: Any) -> torch.Tensor:
        for argument in arguments:
            if isinstance(argument, torch.Tensor) and argument.ndim > 1:
                torch._dynamo.maybe_mark_dynamic(argument, 0)
        return kernel(*arguments)

    return run


def can_compile(device: torch.device) -> bool:
    """Whether kernels can be compiled for `device`: on a GPU, with Triton and a C compiler installed."""
    if device.type != "cuda":
        return False
    try:
        Kernels.compiled().gated(torch.ones(16, 16, device=device, dtype=torch.float16))
    except Exception as error:  # each missing part of the chain raises a different exception
        reason = reason_of(error)
        log.warning(
            "kernels cannot be compiled, so this run is about a fifth slower (%s: %s)", type(error).__name__, reason
        )
        return False
    return True
