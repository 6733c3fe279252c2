"""Several choice orders of a row in one forward pass over their shared prefix.

The tokens of a row are laid out ``[prefix | branch 1 | … | branch K]``. A branch token attends to the prefix and to its
own branch, and its position continues the prefix's. So each branch computes exactly what a separate pass would, while
the prefix, with the image's tokens, is computed once. (Exact for full attention and a LoRA dropout of 0; with dropout
the branches of a row share one mask on the prefix.)

Shapes: B rows, K branches (choice orders), T tokens of a row with padding, H hidden size, 3 axes of M-RoPE, C letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from vqaflow.model.encoding.row_encoder import EncodedRow


@dataclass(frozen=True)
class Batch:
    """B rows with K branches each, padded on the right to T tokens.

    ids_BT and positions_3BT are int64; image_BT marks the image tokens; mask_B1TT says which keys a query attends to
    (None: plain causal, when K is 1); ends_BK is the index of each branch's last token, whose hidden state predicts the
    answer.
    """

    row_ids: list[str]
    ids_BT: torch.Tensor
    positions_3BT: torch.Tensor
    image_BT: torch.Tensor
    mask_B1TT: torch.Tensor | None
    ends_BK: torch.Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        moved = {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in vars(self).items()
        }
        return Batch(**moved)


def pack(rows: Sequence[EncodedRow], image_token: int, pad_token: int, multiple: int = 8) -> Batch:
    """Lay out rows with the same number of branches as one batch, padded to a multiple of `multiple` tokens.

    Padding is on the right, where causal attention never sees it. So no query is fully masked (some fp16 kernels return
    NaN for it), and a row's result does not depend on the lengths of the other rows.
    """
    branches = len(rows[0].branch_ids)
    assert all(len(row.branch_ids) == branches for row in rows), (
        "the rows of a batch need the same number of choice orders"
    )
    length = -(-max(row.tokens for row in rows) // multiple) * multiple
    ids = torch.full((len(rows), length), pad_token)
    positions = torch.zeros(3, len(rows), length, dtype=torch.long)
    branch_of = torch.full((len(rows), length), -1)
    ends = torch.empty(len(rows), branches, dtype=torch.long)
    for b, row in enumerate(rows):
        at = len(row.prefix_ids)
        ids[b, :at] = torch.tensor(row.prefix_ids)
        positions[:, b, :at] = row.prefix_positions
        branch_of[b, :at] = 0
        for k, branch in enumerate(row.branch_ids):
            end = at + len(branch)
            ids[b, at:end] = torch.tensor(branch)
            positions[:, b, at:end] = row.next_position + torch.arange(len(branch))
            branch_of[b, at:end] = k + 1
            ends[b, k] = end - 1
            at = end
    mask = None if branches == 1 else attention_mask(branch_of)
    return Batch([row.id for row in rows], ids, positions, ids == image_token, mask, ends)


def attention_mask(branch_of_BT: torch.Tensor) -> torch.Tensor:
    """Boolean mask (B, 1, T, T), True where a query may see a key: not a later one, and in the prefix or its branch.

    `branch_of_BT` is 0 in the prefix, 1 … K in the branches, -1 in padding (which sees only itself and other padding).
    """
    length = branch_of_BT.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    key, query = branch_of_BT[:, None, :], branch_of_BT[:, :, None]
    return (causal & ((key == 0) | (key == query)))[:, None]


def answer_states(language_model: Any, batch: Batch, features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hidden states (B, K, H) at the answer positions, after the final norm, from the library's layers.

    `features` holds each row's image features (image tokens, (1 + levels) x H), as the frozen tower gives them. The
    language model is called with explicit positions and embeddings, so no state of an earlier call (rope_deltas) can
    leak in.
    """
    arguments = decoder_arguments(language_model, batch, features)
    hidden_BTH = language_model(**arguments, use_cache=False).last_hidden_state
    index = batch.ends_BK[..., None].expand(-1, -1, hidden_BTH.shape[-1])
    return hidden_BTH.gather(1, index)


def decoder_arguments(language_model: Any, batch: Batch, features: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What the library's decoder takes for `batch`: embeddings with the image features in place, mask and positions."""
    table = language_model.embed_tokens
    embeds_BTH = table(batch.ids_BT.to(table.weight.device)).to(
        batch.ids_BT.device
    )  # the table may be in the host's memory
    image, *levels = torch.cat(list(features)).to(embeds_BTH.dtype).split(embeds_BTH.shape[-1], dim=1)
    embeds_BTH = embeds_BTH.masked_scatter(batch.image_BT[..., None], image)
    deepstack = {"visual_pos_masks": batch.image_BT, "deepstack_visual_embeds": levels} if levels else {}
    return {
        "inputs_embeds": embeds_BTH,
        "attention_mask": batch.mask_B1TT,
        "position_ids": batch.positions_3BT,
        **deepstack,
    }


def single_orders(rows: Sequence[EncodedRow]) -> list[EncodedRow]:
    """Each row once per choice order: for layers with a state, which a mask cannot keep apart."""
    return [replace(row, branch_ids=[branch]) for row in rows for branch in row.branch_ids]


def letter_logits(states_BKH: torch.Tensor, letter_rows_CH: torch.Tensor, softcap: float | None = None) -> torch.Tensor:
    """Float32 logits (B, K, C) of the letters from the rows of the language-model head that they need."""
    with torch.autocast(states_BKH.device.type, enabled=False):
        return capped(states_BKH.float() @ letter_rows_CH.float().T, softcap)


def capped(logits: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """The logits as a head with this soft cap gives them (Base.softcap)."""
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)
