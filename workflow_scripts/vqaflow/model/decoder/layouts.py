"""How the tokens of a batch lie in memory and attend to each other, for the fused decoder.

Both layouts compute the same: each branch of a row (one choice order) sees the row's prefix and itself. `FlatLayout`
has no padding and no mask: PyTorch's flash kernel takes sequences of any length, with a branch's queries against the
keys of its prefix and its own (compute capability 8.0 and above). `PaddedLayout` is for the CPU and older cards.

Shapes: B rows, K branches (choice orders), T tokens of a row with padding, N tokens of the batch, M = B·K answer
positions, H query heads and G key-value heads of size D, L listed tokens, P prefix tokens in C listings, 3 M-RoPE axes.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from vqaflow.model.decoder.branches import pack
from vqaflow.model.decoder.sequences import Sequences, Span
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.numerics.flash_attention import cumulative, flash_attention, has_flash_attention


class PaddedLayout:
    """B rows of T tokens, padding included, as N = B·T tokens; attention through SDPA with a mask (or just causal).

    text_ids are the text's token ids. places_N is each token's place in the inputs: the text's embeddings, then the
    image features; image_N are the image tokens. positions_3N are M-RoPE's; ends_BK indexes the N tokens.
    """

    def __init__(self, rows: Sequence[EncodedRow], image_token: int, device: torch.device, dtype: torch.dtype) -> None:
        batch = pack(rows, image_token, pad_token=0)
        self.encoded, self.device = rows, device
        self.rows, self.length = batch.ids_BT.shape
        self.text_ids, self.places_N, self.image_N = text_and_places(batch.ids_BT.flatten(), image_token, device)
        self.positions_3N = batch.positions_3BT.flatten(1).to(device)
        self.ends_BK = (batch.ends_BK + self.length * torch.arange(self.rows)[:, None]).to(device)
        seen_B1TT = batch.mask_B1TT
        if seen_B1TT is None:
            causal = torch.ones(self.length, self.length, dtype=torch.bool).tril()
            seen_B1TT = causal.expand(self.rows, 1, -1, -1)
        at_ends_B1KT = seen_B1TT.gather(2, batch.ends_BK[:, None, :, None].expand(-1, -1, -1, self.length))
        # Made once here: SDPA would convert a boolean mask in every layer.
        self.mask = None if batch.mask_B1TT is None else additive(seen_B1TT, dtype).to(device)
        self.mask_at_ends = additive(at_ends_B1KT, dtype).to(device)

    @cached_property
    def sequences(self) -> Sequences:
        """The rows' prefixes and branches, for layers with a state."""
        prefixes: list[Span] = []
        branches: list[Span] = []
        for b, row in enumerate(self.encoded):
            start, lengths = b * self.length, [len(branch) for branch in row.branch_ids]
            if len(lengths) == 1:
                prefixes.append((start, row.tokens))
                continue
            prefixes.append((start, len(row.prefix_ids)))
            starts = itertools.accumulate(lengths[:-1], initial=start + len(row.prefix_ids))
            branches += zip(starts, lengths, strict=True)
        return Sequences.of(prefixes, branches, self.rows * self.length, self.device)

    def attend(self, q_NHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor) -> torch.Tensor:
        """Attention (N, H, D) of all tokens; G key-value heads serve H query heads."""
        return self._attend(q_NHD, k_NGD, v_NGD, self.mask)

    def attend_at_ends(self, q_MHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor) -> torch.Tensor:
        """Attention (M, H, D) of the M = B·K answer positions only."""
        return self._attend(q_MHD, k_NGD, v_NGD, self.mask_at_ends)

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (t.unflatten(0, (self.rows, -1)).transpose(1, 2) for t in (q, k, v))
        # Old cards need the memory-efficient kernel, which needs as many key-value heads as query heads.
        k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for t in (k, v))
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return out.transpose(1, 2).flatten(0, 1)


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A boolean mask as the values to add to attention scores."""
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf"))


class FlatLayout:
    """N tokens without padding: the prefixes of all rows, then every row's first branch, and so on.

    With one branch per row, that branch is part of the prefix. Keys and values of a prefix are listed again for each
    branch (they are few: grouped-query attention), so one call of the flash kernel is enough.
    """

    def __init__(self, rows: Sequence[EncodedRow], image_token: int, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        parts, self.ends_BK, self.lengths, keys = flat_parts(rows)
        ids, positions = zip(*parts, strict=True)
        ids_N = torch.tensor(list(itertools.chain.from_iterable(ids)))
        self.text_ids, self.places_N, self.image_N = text_and_places(ids_N, image_token, device)
        self.positions_3N = torch.cat(positions, dim=1).to(device)
        self.ends_BK = self.ends_BK.to(device)
        key_lengths = [len(key) for group in keys for key in group]
        boundaries = (cumulative(n).to(device) for n in (self.lengths, key_lengths))
        self.attended = (*boundaries, max(self.lengths), max(key_lengths))
        branches = self.ends_BK.shape[1]
        answering = keys if branches == 1 else keys[1:]
        lengths = [len(key) for group in answering for key in group]
        ones = [1] * len(lengths)
        self.attended_at_ends = (*(cumulative(n).to(device) for n in (ones, lengths)), 1, max(lengths))
        self.listing = None if branches == 1 else Listing.of(keys, device)
        self.end_listing = None if branches == 1 else Listing.of(answering, device)

    @cached_property
    def sequences(self) -> Sequences:
        """The rows' prefixes and branches, for layers with a state."""
        rows, branches = self.ends_BK.shape
        starts = list(itertools.accumulate(self.lengths, initial=0))
        spans = list(zip(starts, self.lengths, strict=False))
        own = [spans[(1 + k) * rows + b] for b in range(rows) for k in range(branches)] if branches > 1 else []
        return Sequences.of(spans[:rows], own, starts[-1], self.device)

    def attend(self, q_NHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor) -> torch.Tensor:
        """Attention (N, H, D) of all tokens."""
        k, v = (listed(t, self.listing) for t in (k_NGD, v_NGD))
        return flash_attention(q_NHD, k, v, self.attended)

    def attend_at_ends(self, q_MHD: torch.Tensor, k_NGD: torch.Tensor, v_NGD: torch.Tensor) -> torch.Tensor:
        """Attention (M, H, D) of the M = B·K answer positions only, in the order of ends_BK."""
        rows, branches = self.ends_BK.shape
        q = q_MHD.unflatten(0, (rows, branches)).transpose(0, 1).flatten(0, 1).contiguous()
        k, v = (listed(t, self.end_listing) for t in (k_NGD, v_NGD))
        out = flash_attention(q, k, v, self.attended_at_ends)
        return out.unflatten(0, (branches, rows)).transpose(0, 1).flatten(0, 1)


def text_and_places(
    ids_N: torch.Tensor, image_token: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The text's ids, each token's place among all text tokens followed by all image tokens, and the image tokens."""
    image_N = ids_N == image_token
    places = torch.empty_like(ids_N)
    places[torch.cat([(~image_N).nonzero()[:, 0], image_N.nonzero()[:, 0]])] = torch.arange(len(ids_N))
    return ids_N[~image_N], places.to(device), image_N.nonzero()[:, 0].to(device)


def flat_parts(
    rows: Sequence[EncodedRow],
) -> tuple[list[tuple[list[int], torch.Tensor]], torch.Tensor, list[int], list[list[torch.Tensor]]]:
    """Parts (ids, positions) in their order, ends (B, K), each part's length, and the key tokens of each part."""
    branches = len(rows[0].branch_ids)
    parts: list[tuple[list[int], torch.Tensor]] = []
    spans: list[torch.Tensor] = []

    def add(ids: list[int], positions: torch.Tensor) -> torch.Tensor:
        start = int(spans[-1][-1]) + 1 if spans else 0
        parts.append((ids, positions))
        spans.append(torch.arange(start, start + len(ids)))
        return spans[-1]

    def branch_positions(row: EncodedRow, branch: list[int]) -> torch.Tensor:
        return (row.next_position + torch.arange(len(branch))).expand(3, -1)

    if branches == 1:
        for row in rows:
            ids = row.prefix_ids + row.branch_ids[0]
            add(ids, torch.cat([row.prefix_positions, branch_positions(row, row.branch_ids[0])], dim=1))
        ends = torch.stack([span[-1:] for span in spans])
        return parts, ends, [len(span) for span in spans], [spans]
    prefixes = [add(row.prefix_ids, row.prefix_positions) for row in rows]
    keys, ends_KB = [prefixes], []
    for k in range(branches):
        own = [add(row.branch_ids[k], branch_positions(row, row.branch_ids[k])) for row in rows]
        keys.append([torch.cat(pair) for pair in zip(prefixes, own, strict=True)])
        ends_KB.append(torch.stack([span[-1] for span in own]))
    return parts, torch.stack(ends_KB, dim=1), [len(span) for span in spans], keys


@dataclass(frozen=True)
class Listing:
    """Tokens in the order that a kernel expects, with each prefix token once per group of sequences.

    index (L,) lists tokens. For backward, shared (P, C) holds the places of the C listings of each prefix token, and
    rest the places of the other tokens, which are listed once.
    """

    index: torch.Tensor
    shared: torch.Tensor
    rest: torch.Tensor

    @classmethod
    def of(cls, groups: Sequence[Sequence[torch.Tensor]], device: torch.device) -> "Listing":
        """List the key tokens of groups of sequences; the prefixes must be the first tokens of all."""
        index = torch.cat([key for group in groups for key in group])
        count = torch.bincount(index)
        often = int(count[0])
        prefix = int((count == often).sum()) if often > 1 else 0
        assert (count[:prefix] == often).all() and (count[prefix:] == 1).all(), "prefixes come first"
        places = index.argsort(stable=True)
        shared, rest = places[: prefix * often].view(prefix, often), places[prefix * often :]
        return cls(index.to(device), shared.to(device), rest.to(device))


class ListedTokens(torch.autograd.Function):
    """The rows of a tensor in the order of a Listing.

    The gradient is summed in a fixed order, so its bits are the same each time; those of atomic additions would vary.
    """

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, listing: Listing) -> torch.Tensor:
        """(N, …) to (L, …)."""
        ctx.listing = listing
        return values.index_select(0, listing.index)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sum the gradients of each token's listings."""
        shared, rest = ctx.listing.shared, ctx.listing.rest
        sums = grad.index_select(0, shared.flatten()).unflatten(0, shared.shape).sum(1)
        return torch.cat([sums, grad.index_select(0, rest)]), None


def listed(values: torch.Tensor, listing: Listing | None) -> torch.Tensor:
    """`values` in the order of `listing`; unchanged without one."""
    return values if listing is None else ListedTokens.apply(values, listing)


TokenLayout = PaddedLayout | FlatLayout


def make_layout(rows: Sequence[EncodedRow], image_token: int, device: torch.device, dtype: torch.dtype) -> TokenLayout:
    """The faster layout that `device` and `dtype` allow."""
    return (FlatLayout if has_flash_attention(device, dtype) else PaddedLayout)(rows, image_token, device, dtype)


def moved_layout(layout: TokenLayout, device: torch.device) -> TokenLayout:
    """The same layout on another device, for the next layers of a base that lies on several."""
    there = copy.copy(layout)
    # What a layer derives from the layout is derived again.
    there.__dict__ = {name: _moved(value, device) for name, value in vars(layout).items() if name != "sequences"}
    there.device = device
    return there


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor of a layout, or all those of a tuple or of a Listing, on `device`; anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Listing):
        return Listing(*(getattr(value, field.name).to(device) for field in fields(value)))
    return tuple(_moved(part, device) for part in value) if isinstance(value, tuple) else value
