"""The gated delta rule and the short convolution of Qwen3.5's linear attention, with gradients for what enters them.

Each value head keeps a matrix, its state. Per token, the rule fades the state by exp(decay), and moves what the state
gives for the key a part `beta` of the way to the value:

    state = exp(decay) state;  state = state + key (beta (value - key^T state))^T;  output = state^T query

Tokens are computed in chunks (Yang et al., Gated Delta Networks, 2025). Within a chunk the corrections depend on each
other through a unit lower triangular matrix I + A. With its inverse, everything is matrix products over all chunks at
once, except three small operations per chunk that pass the state on. Backward is written by hand: it saves launches
and memory, and nothing in it divides by `beta` or takes the exponential of a positive number.

Shapes: S sequences, T tokens, G key heads, V value heads, D size of a key, E size of a value; J chunks of L tokens,
M = S V states, R = V / G value heads per key head, P = J S G chunks of key heads, N = P R chunks of value heads;
C channels and W taps of the convolution.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, silu

EPSILON = 1e-6  # in the length of queries and keys
CHUNK, SMALLEST_CHUNK = 64, 16


def gated_delta_rule(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    decay: torch.Tensor,
    beta: torch.Tensor,
    state: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (S, T, V, E) in the value's dtype, and the states (S, V, D, E) after the last token.

    query, key: (S, T, G, D); each is divided by its length here, and queries by the square root of D. Key head g serves
    the value heads g V/G to (g + 1) V/G - 1. value: (S, T, V, E). decay: (S, T, V), logarithms, at most 0. beta:
    (S, T, V), 0 to 1. state: (S, V, D, E) before the first token; None: zeros.

    A token with beta 0 and decay 0 leaves the states as they are, so sequences are padded on the right with such ones.

    Arithmetic and states are float32 (float64 if the value is). Gradients: for all tensors given; no second ones.
    """
    return _GatedDeltaRule.apply(state, query, key, value, decay, beta)


def causal_conv(x: torch.Tensor, weight: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
    """SiLU of the causal convolution of each channel: (S, T, C) in the dtype of `x`.

    x: (S, T, C). weight: (C, W). before: the inputs (S, W - 1, C) before the first token; None: zeros. Inputs and sums
    are rounded to the weight's dtype, as in the library; sums are float32. Gradients: for all three; no second ones.
    """
    if before is None:
        before = x.new_zeros(len(x), weight.shape[1] - 1, x.shape[2])
    inputs = torch.cat([before.to(weight.dtype), x.to(weight.dtype)], dim=1)
    return _CausalConv.apply(inputs, weight).to(x.dtype)


class _CausalConv(torch.autograd.Function):
    """SiLU of the convolution of inputs (S, T + W - 1, C) that start W - 1 tokens early."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return silu(_convolved(inputs, weight).to(weight.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_STC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        inputs, weight = ctx.saved_tensors
        sums = _convolved(inputs, weight).to(weight.dtype)
        grad = torch.ops.aten.silu_backward(grad_STC, sums)
        taps, tokens = weight.shape[1], grad.shape[1]
        # Backwards in time, the same convolution gives the gradient for its inputs.
        grad_inputs = _convolved(pad(grad, (0, 0, taps - 1, taps - 1)), weight.flip(1)).to(weight.dtype)
        if not ctx.needs_input_grad[1]:
            return grad_inputs, None
        wide = grad.to(_wide(weight))
        per_tap = [(wide * inputs[:, tap : tap + tokens]).sum((0, 1)) for tap in range(taps)]
        return grad_inputs, torch.stack(per_tap, dim=1).to(weight.dtype)


def _convolved(inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution (S, T, C) of inputs (S, T + W - 1, C), in float32, as one product per tap."""
    wide, taps = weight.to(_wide(weight)), weight.shape[1]
    tokens = inputs.shape[1] - taps + 1
    total = inputs[:, :tokens] * wide[:, 0]
    for tap in range(1, taps):
        total.addcmul_(inputs[:, tap : tap + tokens], wide[:, tap])
    return total


def unit_lower_inverse(lower_NLL: torch.Tensor) -> torch.Tensor:
    """The inverse of I + A, where A is what `lower_NLL` holds below its diagonals; L is 2, 4, 8, …

    Of blocks on the diagonal first, then of pairs of them: the block below the diagonal of a pair is minus (inverse of
    the later) A (inverse of the earlier). Powers of A do not occur: they grow without bound where keys repeat.
    """
    size = lower_NLL.shape[-1]
    if size <= SMALLEST_CHUNK:  # all pairs at once, as masked products of whole matrices: fewer launches than blocks
        first, *others = _masks(size, lower_NLL.device, lower_NLL.dtype)
        inverse = torch.eye(size, device=first.device, dtype=first.dtype) - lower_NLL * first
        for mask in others:
            inverse = torch.baddbmm(inverse, inverse @ (lower_NLL * mask), inverse, alpha=-1)
        return inverse
    half = size // 2
    diagonal = torch.stack([lower_NLL[:, :half, :half], lower_NLL[:, half:, half:]])
    earlier, later = unit_lower_inverse(diagonal.flatten(0, 1)).unflatten(0, (2, -1))
    inverse = lower_NLL.new_zeros(lower_NLL.shape)
    inverse[:, :half, :half], inverse[:, half:, half:] = earlier, later
    torch.neg(later @ (lower_NLL[:, half:, :half] @ earlier), out=inverse[:, half:, :half])
    return inverse


@cache
def _masks(size: int, device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """For blocks of 1, 2, 4, … tokens: where the block below the diagonal of each pair of blocks lies (L, L)."""
    place = torch.arange(size, device=device)
    blocks = [place // 2**power for power in range(size.bit_length() - 1)]
    return [((block[:, None] == block + 1) & (block[:, None] % 2 == 1)).to(dtype) for block in blocks]


def _wide(x: torch.Tensor) -> torch.dtype:
    """The dtype to compute in: float64 for float64, else float32."""
    return torch.promote_types(x.dtype, torch.float32)


@contextmanager
def _exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in float32, whatever the settings of the process and of autocast are."""
    settings = torch.backends.cuda.matmul
    before, settings.fp32_precision = settings.fp32_precision, "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        settings.fp32_precision = before


@dataclass(frozen=True)
class _Chunks:
    """How tokens of sequences are cut into chunks, the chunk first: passing the state on then reads whole slices."""

    sequences: int
    tokens: int
    key_heads: int
    value_heads: int
    length: int

    @classmethod
    def of(cls, key: torch.Tensor, value: torch.Tensor) -> "_Chunks":
        """Chunks of 64 tokens, or one shorter chunk for a short sequence."""
        sequences, tokens, key_heads, _ = key.shape
        length = min(CHUNK, max(SMALLEST_CHUNK, 1 << (tokens - 1).bit_length()))
        return cls(sequences, tokens, key_heads, value.shape[2], length)

    @property
    def count(self) -> int:
        """The number of chunks."""
        return -(-self.tokens // self.length)

    def by_key(self, x: torch.Tensor) -> torch.Tensor:
        """Chunks of value heads (N, …), grouped by their key head: (P, R, …)."""
        return x.unflatten(0, (-1, self.value_heads // self.key_heads))

    def times(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Each element of chunks of value heads (N, …) times that of their key head (P, …)."""
        return (self.by_key(x) * y[:, None]).flatten(0, 1)

    def matmul(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Matrix products (N, L, …): the matrices of all value heads of one key head, stacked, times its own."""
        return (self.by_key(x).flatten(1, 2) @ y).view(*x.shape[:2], -1)

    def by_chunk(self, x: torch.Tensor) -> torch.Tensor:
        """Chunks of value heads (N, …) by their place in the sequence: (J, M, …)."""
        return x.unflatten(0, (self.count, self.sequences * self.value_heads))

    def cut(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """(S, T, heads, …) as (J S heads, L, …) in `dtype`, with zeros after the last token."""
        missing = self.count * self.length - self.tokens
        padded = pad(x, (0, 0) * (x.ndim - 2) + (0, missing)) if missing else x
        chunks = padded.unflatten(1, (self.count, self.length)).movedim(1, 0).movedim(2, 3)
        return torch.empty(chunks.shape, dtype=dtype, device=x.device).copy_(chunks).flatten(0, 2)

    def join(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The reverse of `cut`."""
        chunks = x.unflatten(0, (self.count, self.sequences, -1)).movedim(3, 2).movedim(0, 1)
        joined = torch.empty(chunks.shape, dtype=dtype, device=x.device).copy_(chunks)
        return joined.flatten(1, 2)[:, : self.tokens]


def _unit(x: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors of length `scale`, and the factors (…, 1) that made them so."""
    factor = torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON).mul_(scale)
    return x * factor, factor


def _unit_backward(grad: torch.Tensor, scaled: torch.Tensor, factor: torch.Tensor, scale: float) -> torch.Tensor:
    """The gradient for `x` of `_unit`, written into `grad`."""
    along = (grad * scaled).sum(-1, keepdim=True).div_(scale**2)
    return grad.addcmul_(scaled, along, value=-1).mul_(factor)


def _faded(total_NL: torch.Tensor) -> torch.Tensor:
    """exp of the decay between the tokens of a chunk (N, L, L), from the later (row) to the earlier; 0 above."""
    later = torch.ones(total_NL.shape[-1], total_NL.shape[-1], dtype=torch.bool, device=total_NL.device).triu_(1)
    return (total_NL[:, :, None] - total_NL[:, None, :]).masked_fill_(later, float("-inf")).exp_()


class _Saved(NamedTuple):
    """What backward needs of the forward pass; the letters and formulas are those of `_GatedDeltaRule`."""

    query_PLD: torch.Tensor  # q
    query_factor: torch.Tensor
    key_PLD: torch.Tensor  # k
    key_factor: torch.Tensor
    value_NLE: torch.Tensor  # v
    beta_NL: torch.Tensor
    total_NL: torch.Tensor  # g
    faded_NLL: torch.Tensor  # F
    inverse_NLL: torch.Tensor  # X
    reads_NLD: torch.Tensor
    new_NLE: torch.Tensor
    states: torch.Tensor  # (J + 1, M, D, E): before each chunk, and after the last

    def reading(self, chunks: _Chunks) -> torch.Tensor:
        """exp(g) q (N, L, D)."""
        return chunks.times(self.total_NL.exp()[..., None], self.query_PLD)

    def remaining(self) -> torch.Tensor:
        """exp(g_L - g) (N, L): what is left of each token's correction at the end of its chunk."""
        return (self.total_NL[:, -1:] - self.total_NL).exp_()

    def writing(self, chunks: _Chunks) -> torch.Tensor:
        """exp(g_L - g) k (N, L, D)."""
        return chunks.times(self.remaining()[..., None], self.key_PLD)

    def weights(self, chunks: _Chunks) -> torch.Tensor:
        """(q k) F (N, L, L)."""
        return chunks.times(self.faded_NLL, self.query_PLD @ self.key_PLD.mT)

    def kept(self, chunks: _Chunks) -> torch.Tensor:
        """exp(g_L) (J, M, 1, 1)."""
        return chunks.by_chunk(self.total_NL[:, -1, None, None].exp())


class _GatedDeltaRule(torch.autograd.Function):
    """`gated_delta_rule`.

    Within a chunk, with g the sum of decays from its start, F = exp(g_i - g_j) for j <= i, and the state before it:

        A = beta_i (k_i k_j) F_ij below the diagonal;  X = inverse of I + A
        reads = X (beta exp(g) k);  new = X (beta v) - reads state
        output = exp(g) q state + ((q k) F) new;  next state = exp(g_L) state + (exp(g_L - g) k)^T new
    """

    @staticmethod
    def forward(ctx: Any, state: torch.Tensor | None, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query, key, value, decay, beta = inputs
        chunks, dtype = _Chunks.of(key, value), _wide(value)
        unit_query = _unit(chunks.cut(query, dtype), query.shape[-1] ** -0.5)
        unit_key = _unit(chunks.cut(key, dtype), 1.0)
        value_NLE, beta_NL = chunks.cut(value, dtype), chunks.cut(beta, dtype)
        total_NL = chunks.cut(decay, dtype).cumsum(-1)
        faded_NLL = _faded(total_NL)
        with _exact_products(value.device):
            lower_NLL = chunks.times(faded_NLL, unit_key[0] @ unit_key[0].mT).mul_(beta_NL[..., None])
            inverse_NLL = unit_lower_inverse(lower_NLL)
            scaled_NLL = inverse_NLL * beta_NL[:, None, :]
            new_NLE = scaled_NLL @ value_NLE
            reads_NLD = chunks.matmul(scaled_NLL.mul_(total_NL.exp()[:, None, :]), unit_key[0])
            states = new_NLE.new_zeros(chunks.count + 1, len(beta_NL) // chunks.count, key.shape[3], value.shape[3])
            if state is not None:
                states[0] = state.flatten(0, 1)
            saved = _Saved(
                *unit_query, *unit_key, value_NLE, beta_NL, total_NL, faded_NLL, inverse_NLL, reads_NLD, new_NLE, states
            )
            _pass_on(chunks, saved)
            output_NLE = saved.reading(chunks).bmm(states[:-1].flatten(0, 1))
            output_NLE.baddbmm_(saved.weights(chunks), new_NLE)
        ctx.save_for_backward(*saved)
        ctx.chunks, ctx.dtypes = chunks, [x.dtype for x in inputs]
        ctx.state_dtype = None if state is None else state.dtype
        last = states[-1].clone()  # a view would keep the states of all chunks in memory
        return chunks.join(output_NLE, value.dtype), last.unflatten(0, (chunks.sequences, chunks.value_heads))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor, grad_last: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with _exact_products(grad_output.device):
            grads = _Backward(ctx.chunks, _Saved(*ctx.saved_tensors), grad_output, grad_last)
        inputs = (grads.query, grads.key, grads.value, grads.total.flip(-1).cumsum(-1).flip(-1), grads.beta)
        joined = [ctx.chunks.join(grad, dtype) for grad, dtype in zip(inputs, ctx.dtypes, strict=True)]
        first = None if ctx.state_dtype is None else grads.states[0].view_as(grad_last).to(ctx.state_dtype)
        return first, *joined


def _pass_on(chunks: _Chunks, saved: _Saved) -> None:
    """Fill the states after each chunk, and subtract from `new` what the state before gives."""
    states, kept = saved.states, saved.kept(chunks)
    reads, new, writing = (chunks.by_chunk(x) for x in (saved.reads_NLD, saved.new_NLE, saved.writing(chunks).mT))
    for j in range(chunks.count):
        new[j].baddbmm_(reads[j], states[j], alpha=-1)
        torch.mul(states[j], kept[j], out=states[j + 1]).baddbmm_(writing[j], new[j])


class _Backward:
    """The gradients for query, key, value, total (g), beta and states, gathered from the last formula to the first."""

    def __init__(self, chunks: _Chunks, saved: _Saved, grad_output: torch.Tensor, grad_last: torch.Tensor) -> None:
        self.chunks, self.saved = chunks, saved
        self.output_NLE = chunks.cut(grad_output, saved.value_NLE.dtype)
        self.scores_backward()
        self.states_backward(grad_last)
        self.reads_backward()
        self.writes_backward()
        self.solve_backward()
        self.inverse_backward()
        self.query = _unit_backward(self.query, saved.query_PLD, saved.query_factor, self.query.shape[-1] ** -0.5)
        self.key = _unit_backward(self.key, saved.key_PLD, saved.key_factor, 1.0)

    def scores_backward(self) -> None:
        """Of ((q k) F) new: starts the gradients for query, key, total and new."""
        saved, by_key = self.saved, self.chunks.by_key
        weights_NLL = saved.weights(self.chunks)
        self.new_NLE = weights_NLL.mT @ self.output_NLE
        grad_NLL = self.output_NLE @ saved.new_NLE.mT
        product_NLL = weights_NLL.mul_(grad_NLL)
        self.total = product_NLL.sum(-1) - product_NLL.sum(-2)  # F grows with the later token's g, falls with the other
        grad_PLL = by_key(grad_NLL.mul_(saved.faded_NLL)).sum(1)
        self.query = grad_PLL @ saved.key_PLD
        self.key = grad_PLL.mT @ saved.query_PLD

    def states_backward(self, grad_last: torch.Tensor) -> None:
        """Of the recurrence: the gradients for all states (J + 1, M, D, E), and those for `new` completed."""
        chunks, saved = self.chunks, self.saved
        self.states = states = torch.empty_like(saved.states)
        states[-1] = grad_last.flatten(0, 1)
        torch.bmm(saved.reading(chunks).mT, self.output_NLE, out=states[:-1].flatten(0, 1))
        kept, reads, new = saved.kept(chunks), chunks.by_chunk(saved.reads_NLD.mT), chunks.by_chunk(self.new_NLE)
        writing = chunks.by_chunk(saved.writing(chunks))
        for j in reversed(range(chunks.count)):
            new[j].baddbmm_(writing[j], states[j + 1])
            states[j].addcmul_(states[j + 1], kept[j]).baddbmm_(reads[j], new[j], alpha=-1)

    def reads_backward(self) -> None:
        """Of exp(g) q state, by its q and g."""
        grad_NLD = self.output_NLE @ self.saved.states[:-1].flatten(0, 1).mT
        grad_NLD.mul_(self.saved.total_NL.exp()[..., None])
        self.total += self.chunks.times(grad_NLD, self.saved.query_PLD).sum(-1)
        self.query += self.chunks.by_key(grad_NLD).sum(1)

    def writes_backward(self) -> None:
        """Of the next state, by its k and g.

        By exp(g_L) in both its parts, the gradient for g_L is the state times its gradient. That leaves exp(-g) k.
        """
        after, grad_after = self.saved.states[1:].flatten(0, 1), self.states[1:].flatten(0, 1)
        grad_NLD = (self.saved.new_NLE @ grad_after.mT).mul_(self.saved.remaining()[..., None])
        self.total -= self.chunks.times(grad_NLD, self.saved.key_PLD).sum(-1)
        self.total[:, -1] += (after * grad_after).sum((1, 2))
        self.key += self.chunks.by_key(grad_NLD).sum(1)

    def solve_backward(self) -> None:
        """Of X (beta exp(g) k) and X (beta v), by X, k, v, g and beta."""
        chunks, saved = self.chunks, self.saved
        beta, fade, inverse_NLL = saved.beta_NL[:, None, :], saved.total_NL.exp()[:, None, :], saved.inverse_NLL
        scaled_NLL = inverse_NLL * beta
        self.value = scaled_NLL.mT @ self.new_NLE
        stacked = chunks.by_key(scaled_NLL.mul_(fade)).flatten(1, 2)
        reads_NLD = torch.bmm(self.new_NLE, saved.states[:-1].flatten(0, 1).mT).neg_()
        self.key.baddbmm_(stacked.mT, chunks.by_key(reads_NLD).flatten(1, 2))
        grad_NLL = chunks.matmul(reads_NLD, saved.key_PLD.mT).mul_(fade)
        self.total += (inverse_NLL * grad_NLL).sum(1).mul_(saved.beta_NL)
        grad_NLL.baddbmm_(self.new_NLE, saved.value_NLE.mT)
        self.beta = (inverse_NLL * grad_NLL).sum(1)
        self.inverse_NLL = grad_NLL.mul_(beta)

    def inverse_backward(self) -> None:
        """Of X, by the k, g and beta of A, whose gradient is -X^T grad X^T."""
        saved, by_key = self.saved, self.chunks.by_key
        grad_NLL = saved.inverse_NLL.mT @ self.inverse_NLL @ saved.inverse_NLL.mT
        grad_NLL.tril_(-1).neg_().mul_(saved.faded_NLL)
        product_NLL = self.chunks.times(grad_NLL, saved.key_PLD @ saved.key_PLD.mT)
        self.beta += product_NLL.sum(-1)
        product_NLL.mul_(saved.beta_NL[..., None])
        self.total += product_NLL.sum(-1) - product_NLL.sum(-2)
        grad_PLL = by_key(grad_NLL.mul_(saved.beta_NL[..., None])).sum(1)
        self.key.baddbmm_(grad_PLL + grad_PLL.mT, saved.key_PLD)
