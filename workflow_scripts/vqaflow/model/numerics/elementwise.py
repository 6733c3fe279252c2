"""The elementwise work of decoder and tower, forward and backward, as written here or compiled into single kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from vqaflow.runtime.stage import log


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of (N, H), in float32 inside."""
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * scaled.to(x.dtype)


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor
) -> torch.Tensor:
    """The gradient for x of rms_norm(x), plus `residual`."""
    wide, g = x.float(), (grad * weight).float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    scaled = wide * inverse
    return (residual.float() + inverse * (g - scaled * (g * scaled).mean(-1, keepdim=True))).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of heads (N, heads, D) by angles (N, 1, D); with -sin it is undone."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """SwiGLU of gate and up, side by side."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up


def gated_backward(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """The gradient for gate and up, side by side, of `gated`."""
    gate, up = (t.float() for t in gate_up.chunk(2, dim=-1))
    wide, open_ = grad.float(), torch.sigmoid(gate)
    slope = open_ * (1 + gate * (1 - open_))
    return torch.cat([wide * up * slope, wide * gate * open_], dim=-1).to(grad.dtype)


def gated_backward_in_place(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """`gated_backward` written over `gate_up`, for eager mode: no float32 values in memory."""
    gate, up = gate_up.chunk(2, dim=-1)
    grad_open = grad * up
    torch.mul(grad, silu(gate), out=up)
    gate.copy_(torch.ops.aten.silu_backward(grad_open, gate))
    return gate_up


@dataclass(frozen=True)
class Kernels:
    """The elementwise work, as written above or compiled."""

    norm: Callable[..., torch.Tensor] = rms_norm
    norm_backward: Callable[..., torch.Tensor] = rms_norm_backward
    rotate: Callable[..., torch.Tensor] = rotate
    gated: Callable[..., torch.Tensor] = gated
    gated_backward: Callable[..., torch.Tensor] = gated_backward_in_place

    @classmethod
    def compiled(cls) -> "Kernels":
        """One kernel each for each width, and for any number of tokens."""
        import torch._inductor.config as inductor  # takes a second: not where nothing is compiled

        # A handful of kernels needs no pool of compiling processes, one a core, which starts up beside the first dozen
        # of batches and slows them to a quarter of their speed.
        inductor.compile_threads = 1
        return cls(*map(compiled, (rms_norm, rms_norm_backward, rotate, gated, gated_backward)))


def compiled(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`function`, compiled for any size of its tensors' first dimension.

    Were all sizes left open, kernels would divide by them at run time, which costs some five times their speed.
    """
    kernel = torch.compile(function, dynamic=False)

    def run(*arguments: Any) -> torch.Tensor:
        for argument in arguments:
            if isinstance(argument, torch.Tensor) and argument.ndim > 1:
                torch._dynamo.maybe_mark_dynamic(argument, 0)
        return kernel(*arguments)

    return run


def can_compile(device: torch.device) -> bool:
    """Whether kernels can be compiled for `device`: on a GPU, with Triton and a C compiler for it in their places."""
    if device.type != "cuda":
        return False
    try:
        Kernels.compiled().gated(torch.ones(16, 16, device=device, dtype=torch.float16))
    except Exception as error:  # each missing part of the chain has an exception of its own
        reason = (str(error).splitlines() or [""])[0]
        log.warning("kernels are not compiled, which costs a fifth of the speed (%s: %s)", type(error).__name__, reason)
        return False
    return True
