"""The hand-written gradients of elementwise operations are those of autograd."""

import os
import subprocess
import sys

import pytest
import torch

from vqaflow.model.numerics import elementwise
from vqaflow.model.numerics.elementwise import Kernels


def draw(*shape: int) -> torch.Tensor:
    """Random numbers that need a gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).requires_grad_()


def test_the_gradient_of_the_gate() -> None:
    """The one that runs without a compiler."""
    gate_up, grad = draw(5, 16), draw(5, 8).detach()
    (expected,) = torch.autograd.grad(elementwise.gated(gate_up), gate_up, grad)
    torch.testing.assert_close(elementwise.gated_backward_in_place(grad, gate_up.detach().clone()), expected)


IN_TRITONS_INTERPRETER = """
import torch
from vqaflow.model.numerics.elementwise import gated
from vqaflow.model.numerics.gate_kernel import gated_backward

for inner in (96, 1500):
    gate_up, grad = torch.randn(3, 2 * inner).requires_grad_(), torch.randn(3, inner)
    (expected,) = torch.autograd.grad(gated(gate_up), gate_up, grad)
    torch.testing.assert_close(gated_backward(grad, gate_up.detach()), expected)
print("the same")
"""


def test_the_gradient_of_the_gate_on_gpus() -> None:
    """Its kernel in Triton's interpreter, for a size below its block and one that is no multiple of it."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", IN_TRITONS_INTERPRETER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "the same", done.stderr[-2000:]


def test_the_gradient_of_norm_and_rotation() -> None:
    """Heads are normed, each with its weights, then rotated."""
    kernels, heads, grad = Kernels(), draw(5, 3, 8), draw(5, 3, 8).detach() * 2
    weight, cos, sin = draw(3, 8).detach(), draw(5, 1, 8).detach(), draw(5, 1, 8).detach() + 1
    out = kernels.norm_and_rotate(heads, weight, 1e-6, cos, sin)
    assert torch.equal(out, kernels.rotate(kernels.norm(heads, weight, 1e-6), cos, sin))
    # A rotation's angles are the same in both halves; other ones have no simple gradient.
    cos, sin = (torch.cat([half, half], dim=-1) for half in (cos[..., :4], sin[..., :4]))
    (expected,) = torch.autograd.grad(kernels.norm_and_rotate(heads, weight, 1e-6, cos, sin), heads, grad)
    got = kernels.norm_and_rotate_backward(grad, heads.detach(), weight, 1e-6, cos, -sin)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_float32_angles_turn_half_precision_heads_in_float32() -> None:
    """The towers' library does so; angles rounded to bfloat16 would move patches of large images."""
    heads, angle = draw(50, 2, 8).detach().bfloat16(), draw(50, 1, 4).detach() * 40
    cos, sin = (torch.cat([part, part], dim=-1) for part in (angle.cos(), angle.sin()))
    turned = elementwise.rotate(heads, cos, sin)
    assert turned.dtype is torch.bfloat16
    assert torch.equal(turned, elementwise.rotate(heads.float(), cos, sin).bfloat16())


def test_extra_columns_leave_the_norm_as_it_is() -> None:
    """What adapters read is written beside the norm, not into it."""
    x, weight = draw(5, 8).detach(), draw(8).detach()
    wide = elementwise.rms_norm(x, weight, 1e-6, 3)
    assert wide.shape == (5, 11) and torch.equal(wide[:, :8], elementwise.rms_norm(x, weight, 1e-6))
    assert not wide[:, 8:].any()


def test_sums_are_not_left_to_the_fastest_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is fastest depends on the machine's load, and with it would the last bits of every score."""
    told = {}
    monkeypatch.setattr(torch, "compile", lambda function, options, **_: told.setdefault(function.__name__, options))
    Kernels.compiled()
    free = {name for name, options in told.items() if not options["deterministic"]}
    assert free == {"rotate", "gated"} and {"rms_norm", "norm_and_rotate", "quantized_rows"} <= told.keys()
