"""Elementwise operations of decoder and tower, forward and backward: as written here, or compiled into single kernels.

Shapes: N tokens or patches, H hidden size, D size of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad, silu

from vqaflow.model.numerics import fp8
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.stage import log, memory_problem


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, extra: int = 0) -> torch.Tensor:
    """RMSNorm of (N, H), computed in float32; the product with the weight is made in the weight's dtype.

    `extra` columns of zeros follow, for others to fill.
    """
    wide = x.float()
    scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    normed = (weight * scaled.to(weight.dtype)).to(x.dtype)
    return pad(normed, (0, extra)) if extra else normed


def rms_norm_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float, residual: torch.Tensor | None
) -> torch.Tensor:
    """The gradient of rms_norm(x) for x, plus `residual`."""
    wide, g = x.float(), (grad * weight).float()
    inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    scaled = wide * inverse
    grad_x = inverse * (g - scaled * (g * scaled).mean(-1, keepdim=True))
    return (grad_x if residual is None else residual.float() + grad_x).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of heads (N, heads, D) by angles (N, 1, ≤ D), which may leave the last values as they are.

    Passing -sin undoes it. Angles in float32 make it compute in float32; the result has the dtype of x.
    """
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    left, right = turned.chunk(2, dim=-1)
    turned = (turned * cos + torch.cat([-right, left], dim=-1) * sin).to(x.dtype)
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def norm_and_rotate(
    x: torch.Tensor, weight: torch.Tensor, eps: float, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    """RMSNorm of each head (N, heads, D), then its rotation."""
    return rotate(rms_norm(x, weight, eps), cos, sin)


def norm_and_rotate_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float, cos: torch.Tensor, minus_sin: torch.Tensor
) -> torch.Tensor:
    """The gradient of `norm_and_rotate` for x."""
    return rms_norm_backward(rotate(grad, cos, minus_sin), x, weight, eps, None)


def add_interpolated(x: torch.Tensor, corners: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """x (N, H) plus the weighted sum, in float32, of learned positions (N, 4, H)."""
    return x + (corners * weights[:, :, None]).sum(1).to(x.dtype)


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """SwiGLU of gate and up, side by side."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up


def gated_norm(x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm of (N, heads, D) times SiLU of the gate, in float32; it is differentiable for both."""
    return (rms_norm(x, weight, eps) * silu(gate.float())).to(x.dtype)


def gated_backward_in_place(grad: torch.Tensor, gate_up: torch.Tensor) -> torch.Tensor:
    """The gradient of `gated` for gate and up, side by side: overwrites `gate_up`, and keeps no float32 values."""
    gate, up = gate_up.chunk(2, dim=-1)
    grad_open = grad * up
    torch.mul(grad, silu(gate), out=up)
    gate.copy_(torch.ops.aten.silu_backward(grad_open, gate))
    return gate_up


WITHOUT_SUMS = (rotate, gated)


@dataclass(frozen=True)
class Kernels:
    """The elementwise operations, as written above or compiled."""

    norm: Callable[..., torch.Tensor] = rms_norm
    norm_backward: Callable[..., torch.Tensor] = rms_norm_backward
    rotate: Callable[..., torch.Tensor] = rotate
    gated: Callable[..., torch.Tensor] = gated
    gated_backward: Callable[..., torch.Tensor] = gated_backward_in_place
    gated_norm: Callable[..., torch.Tensor] = gated_norm
    norm_and_rotate: Callable[..., torch.Tensor] = norm_and_rotate
    norm_and_rotate_backward: Callable[..., torch.Tensor] = norm_and_rotate_backward
    add_interpolated: Callable[..., torch.Tensor] = add_interpolated
    fp8_rows: Callable[..., tuple[torch.Tensor, torch.Tensor]] = fp8.quantized_rows

    @classmethod
    def compiled(cls) -> "Kernels":
        """Compiled operations: one kernel per operation and width, for any number of tokens."""
        import torch._inductor.config as inductor  # takes a second, so it is imported only when needed

        # A few kernels do not need a pool of compiler processes, one per core: while the pool starts, the first dozen
        # batches run at a quarter of their speed.
        inductor.compile_threads = 1
        from vqaflow.model.numerics import gate_kernel

        names = (
            "norm",
            "norm_backward",
            "rotate",
            "gated",
            "gated_norm",
            "norm_and_rotate",
            "norm_and_rotate_backward",
            "fp8_rows",
        )
        plain = cls()
        made = {name: compiled(getattr(plain, name)) for name in (*names, "add_interpolated")}
        return cls(**made, gated_backward=gate_kernel.gated_backward)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled for any size of its tensors' first dimension.

    If all sizes were left open, kernels would divide by them at run time and be about five times slower.
    """
    # Of several kernels the fastest is chosen by a trial. For sums, which each adds in another order, bits would depend
    # on how busy the machine was.
    kernel = torch.compile(function, dynamic=False, options={"deterministic": function not in WITHOUT_SUMS})

    def run(*arguments: Any) -> Any:
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
        if memory_problem(error):
            raise
        reason = reason_of(error)
        log.warning(
            "kernels cannot be compiled, so this run is about a fifth slower (%s: %s)", type(error).__name__, reason
        )
        return False
    return True
