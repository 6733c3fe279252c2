"""Which implementation of the gated delta rule a layer runs: flash-linear-attention's, where it is right, or ours.

Its kernels are faster, but their backward refuses some cards with some versions of Triton, on which it gives wrong
gradients. A small case is computed both ways before the first use. What refuses or differs is not used, and a line in
the log says why.

Shapes: S sequences, T tokens, G key heads, V value heads, D size of a key, E size of a value.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from vqaflow.model.numerics.delta_rule import gated_delta_rule
from vqaflow.runtime.messages import reason_of
from vqaflow.runtime.stage import log, memory_problem

Rule = Callable[..., tuple[torch.Tensor, torch.Tensor]]
# Largest relative difference of outputs, states and gradients: bfloat16 products against float32 ones.
TOLERANCE = 0.02
SEQUENCES, TOKENS = 2, 150  # two whole chunks and a part


@cache
def rule_of(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int, int], gradients: bool) -> Rule:
    """The implementation for values of `dtype` and heads (G, V, D, E), for passes with or without `gradients`."""
    if device.type != "cuda" or dtype is torch.float32 or find_spec("fla") is None:
        return gated_delta_rule
    fault = _fault(device, dtype, heads, gradients)
    if fault is None:
        log.info("linear attention: flash-linear-attention's kernels%s", "" if gradients else ", without gradients")
        return fla_rule
    log.warning("linear attention: flash-linear-attention is not used, so passes are slower: %s", fault)
    return gated_delta_rule


def fla_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    decay: torch.Tensor,
    beta: torch.Tensor,
    state: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`gated_delta_rule` by flash-linear-attention."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    return chunk_gated_delta_rule(
        query,
        key,
        value,
        g=decay.float(),
        beta=beta.to(value.dtype),
        initial_state=state,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )


def _fault(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int, int], gradients: bool) -> str | None:
    """Why flash-linear-attention cannot be used, if it cannot: it raises an error, or differs from ours."""
    inputs = _small_case(device, dtype, heads)
    try:
        theirs = _outcome(fla_rule, inputs, gradients)
    except Exception as error:  # a kernel may refuse, or fail to compile, in any way
        if memory_problem(error):
            raise
        return reason_of(error)
    ours = _outcome(gated_delta_rule, inputs, gradients)
    for name, found in theirs.items():
        difference = float((found.float() - ours[name].float()).norm() / ours[name].float().norm())
        if not difference <= TOLERANCE:
            return f"its {name} differs by {difference:.2g} from the exact one"
    return None


def _small_case(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int, int]) -> list[torch.Tensor]:
    """Query, key, value, decay, beta and state of random sequences."""
    key_heads, value_heads, key_size, value_size = heads
    draw = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(SEQUENCES, *shape, device=device, generator=draw)

    keys = [normal(TOKENS, key_heads, key_size).to(dtype) for _ in range(2)]
    rates = normal(TOKENS, value_heads)
    decay, beta = -torch.nn.functional.softplus(rates), normal(TOKENS, value_heads).sigmoid()
    return [
        *keys,
        normal(TOKENS, value_heads, value_size).to(dtype),
        decay,
        beta,
        normal(value_heads, key_size, value_size),
    ]


def _outcome(rule: Rule, inputs: list[torch.Tensor], gradients: bool) -> dict[str, Any]:
    """Output and last state of `rule`, and the gradients of a sum of both for all inputs."""
    with torch.enable_grad() if gradients else torch.no_grad():
        leaves = [x.detach().clone().requires_grad_(gradients) for x in inputs]
        output, last = rule(*leaves)
        found = {"output": output.detach(), "last state": last.detach()}
        if gradients:
            names = ("query", "key", "value", "decay", "beta", "state")
            grads = torch.autograd.grad((output.float() * output.detach().float()).sum() + last.square().sum(), leaves)
            found |= {f"gradient for the {name}": grad for name, grad in zip(names, grads, strict=True)}
    return found
