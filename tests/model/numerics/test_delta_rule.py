"""The linear attention of Qwen3.5 computes what the library computes, and its gradients are right."""

import inspect
from collections.abc import Sequence

import pytest
import torch
from torch.nn.functional import pad
from transformers.models.qwen3_5 import modeling_qwen3_5 as library

from vqaflow.model.numerics.delta_rule import causal_conv, gated_delta_rule, unit_lower_inverse

KEY_HEADS, VALUE_HEADS, KEY_SIZE, VALUE_SIZE = 2, 4, 8, 6
Inputs = list[torch.Tensor]
# The library's own code, also where packages are installed whose kernels it would call instead.
RECURRENT_RULE = inspect.unwrap(library.torch_recurrent_gated_delta_rule)
CHUNKED_RULE = inspect.unwrap(library.torch_chunk_gated_delta_rule)
CONVOLUTION = inspect.unwrap(library.causal_conv1d_fn)


def random_inputs(sequences: int, tokens: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Inputs:
    """Query, key, value, decay, beta and state."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    heads = normal(sequences, tokens, VALUE_HEADS)
    tensors = [
        normal(sequences, tokens, KEY_HEADS, KEY_SIZE),
        normal(sequences, tokens, KEY_HEADS, KEY_SIZE),
        normal(sequences, tokens, VALUE_HEADS, VALUE_SIZE),
        -0.2 * heads.exp(),
        normal(sequences, tokens, VALUE_HEADS).sigmoid(),
        normal(sequences, VALUE_HEADS, KEY_SIZE, VALUE_SIZE),
    ]
    return [tensor.to(dtype) for tensor in tensors]


def token_by_token(inputs: Sequence[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """The rule as its definition says, in the dtype of the inputs; differentiable."""
    query, key, value, decay, beta, state = inputs
    sharing = value.shape[2] // key.shape[2]
    query, key = (
        (x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)).repeat_interleave(sharing, dim=2)
        for x in (query, key)
    )
    if state is None:
        state = value.new_zeros(len(value), value.shape[2], key.shape[3], value.shape[3])
    outputs = []
    for t in range(value.shape[1]):
        state = state * decay[:, t, :, None, None].exp()
        missing = value[:, t] - torch.einsum("svd,svde->sve", key[:, t], state)
        state = state + torch.einsum("svd,sve->svde", key[:, t], beta[:, t, :, None] * missing)
        outputs.append(torch.einsum("svd,svde->sve", query[:, t], state) * query.shape[-1] ** -0.5)
    return torch.stack(outputs, dim=1), state


def loss_of(output: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """A number that depends on everything that the rule returns, unevenly."""
    generator = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (output, state)]
    return sum((x.double() * weight).sum() for x, weight in zip((output, state), weights, strict=True))


def gradients(run, inputs: Sequence[torch.Tensor]) -> Inputs:
    """The gradients of `loss_of` for each input."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    return list(torch.autograd.grad(loss_of(*run(leaves)), leaves))


def assert_close(got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], tolerance: float) -> None:
    """Each tensor's error, relative to the largest element that is expected."""
    for number, (one, other) in enumerate(zip(got, expected, strict=True)):
        error = (one.double() - other.double()).abs().max() / other.double().abs().max()
        assert error < tolerance, f"tensor {number}: error {error:.1e}"


def repeated(inputs):
    """Query, key, value, decay and beta with a key head per value head, as some versions of the library expect."""
    copies = inputs[2].shape[2] // inputs[1].shape[2]
    return [x.repeat_interleave(copies, dim=2) for x in inputs[:2]] + list(inputs[2:5])


@pytest.mark.parametrize("with_state", [True, False])
@pytest.mark.parametrize("tokens", [1, 3, 17, 64, 65, 150])
def test_outputs_and_states_are_those_of_the_library(tokens, with_state):
    """Else answers differ from those that everyone else gets from the same checkpoint."""
    inputs = random_inputs(2, tokens)
    state = inputs[5] if with_state else None
    expected = RECURRENT_RULE(
        *repeated(inputs), initial_state=state, output_final_state=True, use_qk_l2norm_in_kernel=True
    )
    assert_close(gated_delta_rule(*inputs[:5], state), expected, 1e-5)


@pytest.mark.parametrize("tokens", [3, 64, 150])
def test_gradients_are_those_of_the_definition(tokens):
    """Also for the state: training continues the state of one prefix in each choice order."""
    inputs = random_inputs(2, tokens)
    exact = gradients(token_by_token, [x.double() for x in inputs])
    assert_close(gradients(lambda x: gated_delta_rule(*x), inputs), exact, 1e-4)


def test_gradients_are_those_of_the_library():
    inputs = random_inputs(2, 100)
    options = {"output_final_state": True, "use_qk_l2norm_in_kernel": True}
    expected = gradients(lambda x: CHUNKED_RULE(*repeated(x), initial_state=x[5], **options), inputs)
    assert_close(gradients(lambda x: gated_delta_rule(*x), inputs), expected, 1e-4)


def test_gradients_are_exact_in_float64():
    """A wrong term can hide behind rounding in float32."""
    inputs = [x.requires_grad_() for x in random_inputs(1, 18, torch.float64)]
    assert torch.autograd.gradcheck(gated_delta_rule, inputs, fast_mode=True)
    plain = gradients(token_by_token, [x.detach() for x in inputs])
    assert_close(gradients(lambda x: gated_delta_rule(*x), [x.detach() for x in inputs]), plain, 1e-12)


@pytest.mark.parametrize("cut", [2, 64, 70])
def test_a_prefix_and_its_branch_equal_one_sequence(cut):
    """Choice orders share the prefix only if outputs, states and all gradients pass through the handed-on state."""

    def chained(x: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        first, state = gated_delta_rule(*[part[:, :cut] for part in x[:5]], x[5])
        second, state = gated_delta_rule(*[part[:, cut:] for part in x[:5]], state)
        return torch.cat([first, second], dim=1), state

    inputs = random_inputs(2, 130)
    assert_close(chained(inputs), gated_delta_rule(*inputs), 1e-5)
    assert_close(gradients(chained, inputs), gradients(lambda x: gated_delta_rule(*x), inputs), 1e-4)


def test_branches_of_one_prefix_add_their_gradients_to_its_state():
    """Each order sends its gradient back into the shared prefix."""
    inputs = random_inputs(3, 20)
    state = inputs[5][:1].clone().requires_grad_()
    together = loss_of(*gated_delta_rule(*inputs[:5], state.expand(3, -1, -1, -1)))
    copies = [state.detach().clone().requires_grad_() for _ in range(3)]
    alone = loss_of(*gated_delta_rule(*inputs[:5], torch.cat(copies)))
    expected = sum(torch.autograd.grad(alone, copies))
    assert_close(torch.autograd.grad(together, state), [expected], 1e-5)


@pytest.mark.parametrize("padding", [1, 14, 100])
def test_padding_leaves_states_and_gradients_untouched(padding):
    """Else a row's answer would depend on the longest row of its batch."""
    inputs = random_inputs(2, 50)

    def padded(x: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        filled = [pad(part, (0, 0, 0, 0, 0, padding), value=7.0) for part in x[:3]]
        output, state = gated_delta_rule(*filled, *[pad(part, (0, 0, 0, padding)) for part in x[3:5]], x[5])
        return output[:, :50], state

    for got, expected in zip(padded(inputs), gated_delta_rule(*inputs), strict=True):
        assert torch.equal(got, expected)
    assert_close(gradients(padded, inputs), gradients(lambda x: gated_delta_rule(*x), inputs), 1e-5)


def test_only_padding_returns_the_state_itself():
    query, key, value, decay, beta, state = random_inputs(2, 70)
    _, last = gated_delta_rule(query, key, value, 0 * decay, 0 * beta, state)
    assert torch.equal(last, state)


def repeated_inputs(tokens: int) -> Inputs:
    """One key for all tokens, which replace its value almost entirely and forget almost nothing."""
    inputs = random_inputs(1, tokens)
    inputs[1] = inputs[1][:, :1].expand(-1, tokens, -1, -1).clone()
    inputs[3], inputs[4] = torch.full_like(inputs[3], -1e-4), torch.full_like(inputs[4], 0.999)
    return inputs


def test_repeated_keys_are_stable():
    """Flat areas of an image give the same key hundreds of times; powers of A would reach 1e17 there."""
    inputs = repeated_inputs(200)
    wide = [x.double() for x in inputs]
    assert_close(gated_delta_rule(*inputs), token_by_token(wide), 1e-5)
    assert_close(gradients(lambda x: gated_delta_rule(*x), inputs), gradients(token_by_token, wide), 1e-4)


def test_a_state_that_is_forgotten_at_once_gives_no_overflow():
    """Decays of -50 per token: exp of their differences in the wrong direction would be infinite."""
    inputs = random_inputs(1, 80)
    inputs[3] = torch.full_like(inputs[3], -50.0)
    wide = [x.double() for x in inputs]
    assert_close(gated_delta_rule(*inputs), token_by_token(wide), 1e-5)
    got, exact = gradients(lambda x: gated_delta_rule(*x), inputs), gradients(token_by_token, wide)
    for number in (0, 1, 2, 4):
        assert_close([got[number]], [exact[number]], 1e-4)
    assert all(x.isfinite().all() for x in got)


def test_bfloat16_inputs_are_computed_in_float32():
    """Only the output may be rounded; states and gradients would drift over hundreds of tokens."""
    inputs = [x.bfloat16() for x in random_inputs(2, 100)[:5]]
    output, state = gated_delta_rule(*inputs)
    with torch.autocast("cpu", torch.bfloat16):  # training runs in it
        again = gated_delta_rule(*inputs)
    assert output.dtype is torch.bfloat16 and state.dtype is torch.float32
    assert torch.equal(again[0], output) and torch.equal(again[1], state)
    expected, expected_state = token_by_token([*[x.double() for x in inputs], None])
    assert_close([output, state], [expected, expected_state], 5e-3)
    assert_close([state], [expected_state], 1e-5)
    leaves = [x.clone().requires_grad_() for x in inputs]
    grads = torch.autograd.grad(loss_of(*gated_delta_rule(*leaves)), leaves)
    assert {x.dtype for x in grads} == {torch.bfloat16}


@pytest.mark.parametrize("size", [2, 16, 32, 64])
def test_the_inverse_of_a_unit_lower_matrix(size):
    """It reads below the diagonal only: what stands above is never computed by the caller."""
    matrix = torch.randn(5, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / size**0.5
    exact = torch.linalg.inv(torch.eye(size, dtype=torch.float64) + matrix.tril(-1))
    assert_close([unit_lower_inverse(matrix)], [exact], 1e-12)


def conv_inputs(dtype: torch.dtype = torch.float32, tokens: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs (2, tokens, 5), a weight (5, 4), and the inputs before (2, 3, 5)."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(2, tokens, 5), (5, 4), (2, 3, 5)]
    x, weight, before = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return x, weight, before


def library_conv(x: torch.Tensor, weight: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The library's convolution of all inputs, less the outputs for `before`."""
    inputs = torch.cat([before, x], dim=1).mT
    return CONVOLUTION(inputs, weight, None, activation="silu").mT[:, before.shape[1] :]


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_the_convolution_is_that_of_the_library(tokens):
    x, weight, before = conv_inputs(tokens=tokens)
    assert_close([causal_conv(x, weight, before)], [library_conv(x, weight, before)], 1e-6)
    assert_close([causal_conv(x, weight)], [library_conv(x, weight, before[:, :0])], 1e-6)
    leaves = [part.clone().requires_grad_() for part in (x, weight, before)]
    got, expected = (
        torch.autograd.grad(loss_of(run(*leaves), leaves[2]), leaves) for run in (causal_conv, library_conv)
    )
    assert_close(got, expected, 1e-5)


def test_the_convolution_of_a_prefix_and_its_branch_equals_one_sequence():
    """A branch reads the last three inputs of the prefix; its gradient must reach them."""
    x, weight, before = conv_inputs()

    def chained(x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        first, second = x[:, :5], x[:, 5:]
        return torch.cat([causal_conv(first, weight, before), causal_conv(second, weight, first[:, -3:])], dim=1)

    assert torch.equal(chained(x, before), causal_conv(x, weight, before))
    leaves = [part.clone().requires_grad_() for part in (x, before)]
    got = torch.autograd.grad(loss_of(chained(*leaves), leaves[1]), leaves)
    expected = torch.autograd.grad(loss_of(causal_conv(leaves[0], weight, leaves[1]), leaves[1]), leaves)
    assert_close(got, expected, 1e-6)


def test_the_convolution_rounds_as_the_library():
    """bfloat16 weights: the sum is rounded once, before SiLU."""
    x, weight, before = conv_inputs(torch.bfloat16, tokens=200)
    got, expected = causal_conv(x, weight, before), library_conv(x, weight, before)
    assert got.dtype is torch.bfloat16
    assert (got == expected).float().mean() > 0.99
    assert_close([got], [expected], 8e-3)
    mixed = causal_conv(x.float(), weight, before.float())
    assert mixed.dtype is torch.float32
    assert torch.equal(mixed, got.float())
