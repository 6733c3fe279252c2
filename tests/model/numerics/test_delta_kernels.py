"""flash-linear-attention is used only where it gives what our rule gives; the log says why it is not.

There is no GPU here: the kernels' place is taken by functions that are right, wrong, or refuse as the real ones do.
"""

import logging
import sys
from types import ModuleType

import pytest
import torch

from vqaflow.model.numerics import delta_kernels
from vqaflow.model.numerics.delta_kernels import rule_of
from vqaflow.model.numerics.delta_rule import gated_delta_rule

GPU, HEADS = torch.device("cuda"), (2, 4, 16, 24)


def kernels(monkeypatch, compute) -> None:
    """Install a package fla whose chunk_gated_delta_rule is `compute`, and compare on the CPU."""
    rule_of.cache_clear()
    package, ops, module = (ModuleType(name) for name in ("fla", "fla.ops", "fla.ops.gated_delta_rule"))
    module.chunk_gated_delta_rule = compute
    for one in (package, ops, module):
        monkeypatch.setitem(sys.modules, one.__name__, one)
    monkeypatch.setattr(delta_kernels, "find_spec", lambda name: package)
    small = delta_kernels._small_case
    monkeypatch.setattr(delta_kernels, "_small_case", lambda device, *rest: small(torch.device("cpu"), *rest))


def right(query, key, value, *, g, beta, initial_state, output_final_state, use_qk_l2norm_in_kernel):
    """What the package computes, by our rule."""
    assert output_final_state and use_qk_l2norm_in_kernel
    return gated_delta_rule(query, key, value, g, beta, initial_state)


def wrong_gradient(*tensors, **options):
    """The right numbers with a wrong gradient for the value."""
    query, key, value = tensors
    doubled = value.detach() + 2 * (value - value.detach())
    return right(query, key, doubled.to(value.dtype), **options)


class Refusing(torch.autograd.Function):
    """A backward that refuses, as the package's does on Hopper with Triton 3.6."""

    @staticmethod
    def forward(ctx, value):
        """The value itself."""
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        """Raise the package's error."""
        raise RuntimeError("Triton >= 3.4.0 and < 3.7.1 on Hopper GPUs produces incorrect results")


def refusing(query, key, value, **options):
    """The right numbers without gradients."""
    return right(query, key, Refusing.apply(value), **options)


@pytest.mark.parametrize("gradients", [False, True])
def test_right_kernels_are_used(monkeypatch, gradients: bool) -> None:
    """They are faster."""
    kernels(monkeypatch, right)
    assert rule_of(GPU, torch.bfloat16, HEADS, gradients) is delta_kernels.fla_rule


@pytest.mark.parametrize(
    ("compute", "reason"),
    [(wrong_gradient, "gradient for the value differs by"), (refusing, "on Hopper GPUs produces incorrect results")],
)
def test_wrong_gradients_are_never_trained_with(monkeypatch, caplog, compute, reason: str) -> None:
    """An adapter that was trained with them would be worse, and nobody would know why."""
    kernels(monkeypatch, compute)
    with caplog.at_level(logging.WARNING, "vqaflow"):
        assert rule_of(GPU, torch.bfloat16, HEADS, True) is gated_delta_rule
    assert reason in caplog.text
    assert rule_of(GPU, torch.bfloat16, HEADS, False) is delta_kernels.fla_rule, "scoring needs no gradients"


def test_wrong_outputs_are_never_scored_with(monkeypatch, caplog) -> None:
    """A kernel that ignores the state before a branch would score each choice order without its question."""
    kernels(monkeypatch, lambda *x, **options: right(*x, **{**options, "initial_state": None}))
    with caplog.at_level(logging.WARNING, "vqaflow"):
        assert rule_of(GPU, torch.bfloat16, HEADS, False) is gated_delta_rule
    assert "output differs by" in caplog.text


def test_float32_and_the_cpu_use_our_rule(monkeypatch) -> None:
    """The kernels round to 16 bits."""
    kernels(monkeypatch, right)
    assert rule_of(GPU, torch.float32, HEADS, False) is gated_delta_rule
    assert rule_of(torch.device("cpu"), torch.bfloat16, HEADS, False) is gated_delta_rule
