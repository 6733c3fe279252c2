"""The training objective is the metric: cross-entropy at the answer's position, in float32.

It returns sums over rows and orders, not means: a step's loss does not depend on how its rows are cut into passes.

Shapes: B rows, K choice orders, H hidden size, V vocabulary, 4 letters.
"""

import torch
from torch.nn.functional import cross_entropy

from vqaflow.model.decoder.branches import capped, letter_logits


def answer_loss(
    objective: str,
    states_BKH: torch.Tensor,
    target_BK: torch.Tensor,
    letter_ids: list[int],
    letter_rows_4H: torch.Tensor,
    head_VH: torch.Tensor | None,
    smoothing: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss and letter logits (B, K, 4) of the answers at positions `target_BK` (0 to 3).

    `choice`: over the four letters, smoothed over them; it needs four rows of the head. `lm`: over the vocabulary, at
    the answer's position only, which needs the head but never (B, L, V) logits. `mixed`: their mean.
    """
    logits_BK4 = letter_logits(states_BKH, letter_rows_4H, softcap)
    losses = []
    if objective in ("choice", "mixed"):
        losses.append(
            cross_entropy(logits_BK4.flatten(0, 1), target_BK.flatten(), label_smoothing=smoothing, reduction="sum")
        )
    if objective in ("lm", "mixed"):
        assert head_VH is not None, "the objective needs the language-model head"
        tokens_BK = torch.tensor(letter_ids, device=target_BK.device)[target_BK]
        with torch.autocast(states_BKH.device.type, enabled=False):
            logits_BKV = capped(states_BKH.float() @ head_VH.float().T, softcap)
        losses.append(cross_entropy(logits_BKV.flatten(0, 1), tokens_BK.flatten(), reduction="sum"))
    return torch.stack(losses).mean(), logits_BK4
