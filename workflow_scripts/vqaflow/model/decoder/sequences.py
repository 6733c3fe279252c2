"""Where the sequences of a batch lie among its tokens: the prefixes of its rows, and the branches that continue them.

Layers with a state read sequences one after another, padded on the right to equal lengths. With one branch per row, the
branch is part of the prefix.

Shapes: N tokens of the batch, B rows, K branches, S sequences of T slots, M slots of all sequences with padding,
W picked slots of a prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Span = tuple[int, int]  # first token and number of tokens


@dataclass(frozen=True)
class Move:
    """A selection of rows in which each real row is read once, so that its gradient is a selection too.

    there: which row each output reads. back: which output each row goes to. read: which rows are read at all (None:
    each). Outputs of padding read any row; they must not be used.
    """

    there: torch.Tensor
    back: torch.Tensor
    read: torch.Tensor | None


class MovedRows(torch.autograd.Function):
    """Rows of a tensor as a Move says; without atomic additions, backward has the same bits each time."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, move: Move) -> torch.Tensor:
        """(rows, …) to (len(there), …)."""
        ctx.move = move
        return values.index_select(0, move.there)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Each row's gradient from the one output that reads it."""
        move = ctx.move
        back = grad.index_select(0, move.back)
        return back if move.read is None else back.mul_(move.read[:, None]), None


class PickedRows(torch.autograd.Function):
    """Some rows of a tensor, each picked at most once; backward needs no atomic additions."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """(rows, …) to (len(index), …)."""
        ctx.index, ctx.shape = index, values.shape
        return values.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """The picked rows' gradients in their places."""
        return grad.new_zeros(ctx.shape).index_copy_(0, ctx.index, grad), None


def moved(values: torch.Tensor, move: Move) -> torch.Tensor:
    """`values` (rows, …) selected by `move`."""
    return MovedRows.apply(values, move)


@dataclass(frozen=True)
class Sequences:
    """The slots of a batch: first those of its B prefixes, then, with several branches, those of its B·K branches.

    shapes: (sequences, slots of each) of both groups; real: per group (S, T), 1.0 where a slot holds a token; slots
    moves tokens to slots, tokens moves slots to tokens; ends_B is the slot after each prefix's last token, and shortest
    the number of tokens of the shortest prefix.
    """

    shapes: list[tuple[int, int]]
    real: list[torch.Tensor]
    slots: Move
    tokens: Move
    ends_B: torch.Tensor
    shortest: int

    @property
    def sizes(self) -> list[int]:
        """Slots per group."""
        return [count * length for count, length in self.shapes]

    @classmethod
    def of(cls, prefixes: Sequence[Span], branches: Sequence[Span], tokens: int, device: torch.device) -> "Sequences":
        """From the spans of the prefixes, and of the branches of the first row, of the second, and so on."""
        shapes, real, there = [], [], []
        for spans in (group for group in (prefixes, branches) if group):
            length = max(count for _, count in spans)
            slot_ST = torch.arange(length).expand(len(spans), -1)
            first, count = torch.tensor(spans).T[..., None]
            shapes.append((len(spans), length))
            real.append(slot_ST < count)
            there.append(torch.where(real[-1], first + slot_ST, 0).flatten())
        there_M, real_M = torch.cat(there), torch.cat([mask.flatten() for mask in real])
        back_N, read_N = torch.zeros(tokens, dtype=torch.long), torch.zeros(tokens, dtype=torch.bool)
        back_N[there_M[real_M]] = real_M.nonzero()[:, 0]
        read_N[there_M[real_M]] = True
        there_M, real_M, back_N, read_N = (t.to(device) for t in (there_M, real_M, back_N, read_N))
        return cls(
            shapes,
            [mask.float().to(device) for mask in real],
            Move(there_M, back_N, None if read_N.all() else read_N),
            Move(back_N, there_M, None if real_M.all() else real_M),
            torch.tensor([b * shapes[0][1] + count for b, (_, count) in enumerate(prefixes)], device=device),
            min(count for _, count in prefixes),
        )

    def tails(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """The last `count` real slots of each prefix (B, T, C), as (B, count, C)."""
        assert self.shortest >= count, "a prefix is longer than the convolution"
        at_BW = self.ends_B[:, None] - count + torch.arange(count, device=values.device)
        return PickedRows.apply(values.flatten(0, 1), at_BW.flatten()).unflatten(0, at_BW.shape)
