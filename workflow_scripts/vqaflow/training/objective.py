"""The training objective is the metric: cross-entropy at the answer's position, in float32.

A target is a probability for each position: 1 at the answer's, or the shares of the people who gave each answer. The
loss returned is a sum over rows and orders, not a mean: a step's loss does not depend on how its rows are cut into
passes.

Shapes: B rows, K choice orders, H hidden size, V vocabulary, C letters, X rows and orders.
"""

import torch
from torch.nn.functional import log_softmax, nll_loss

from vqaflow.model.decoder.branches import capped, letter_logits


def answer_loss(
    objective: str,
    states_BKH: torch.Tensor,
    target_BKC: torch.Tensor,
    letter_ids: list[int],
    letter_rows_CH: torch.Tensor,
    head_VH: torch.Tensor | None,
    smoothing: float,
    softcap: float | None = None,
    choices_B: torch.Tensor | None = None,
    weight_BK: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss and letter logits (B, K, C) of the targets `target_BKC`, each row times its weight, if given.

    `choices_B` is how many choices each row has, None: all have C. A row with fewer shows them at the first positions;
    the logits of the others are -inf. `choice`: over the letters that the row shows, smoothed over them; it needs C
    rows of the head. `lm`: over the vocabulary, at the answer's position only, which needs the head but never (B, L, V)
    logits. `mixed`: their mean.
    """
    logits_BKC = without_absent(letter_logits(states_BKH, letter_rows_CH, softcap), choices_B)
    losses = []
    if objective in ("choice", "mixed"):
        losses.append(soft_cross_entropy(log_softmax(logits_BKC, -1), target_BKC, weight_BK, smoothing))
    if objective in ("lm", "mixed"):
        assert head_VH is not None, "the objective needs the language-model head"
        with torch.autocast(states_BKH.device.type, enabled=False):
            logits_BKV = capped(states_BKH.float() @ head_VH.float().T, softcap)
        letters = torch.tensor(letter_ids[: target_BKC.shape[-1]], device=target_BKC.device)
        losses.append(soft_cross_entropy(log_softmax(logits_BKV, -1)[..., letters], target_BKC, weight_BK, 0.0))
    return torch.stack(losses).mean(), logits_BKC


def without_absent(logits_BKC: torch.Tensor, choices_B: torch.Tensor | None) -> torch.Tensor:
    """The logits with -inf at positions that a row does not show; it shows the first `choices_B`."""
    if choices_B is None:
        return logits_BKC
    positions_C = torch.arange(logits_BKC.shape[-1], device=logits_BKC.device)
    return logits_BKC.masked_fill(positions_C >= choices_B[:, None, None], -torch.inf)


def soft_cross_entropy(
    logp_BKC: torch.Tensor, target_BKC: torch.Tensor, weight_BK: torch.Tensor | None, smoothing: float
) -> torch.Tensor:
    """The sum over rows and orders of weight · -sum over C of target · logp.

    With `smoothing` s, the target is (1 - s) · target + s / n over the n positions that can be chosen, as in
    torch.nn.functional.cross_entropy. For targets of one 1 and weights of 1, value and gradients are to the bit those
    of torch's cross_entropy with the position as its target: the terms are summed in the same order, by nll_loss.
    """
    hit_BK = torch.where(target_BKC > 0, logp_BKC * target_BKC, 0.0).sum(-1)
    if weight_BK is not None:
        hit_BK = hit_BK * weight_BK
    first_X = torch.zeros(hit_BK.numel(), dtype=torch.long, device=hit_BK.device)
    loss = nll_loss(hit_BK.reshape(-1, 1), first_X, reduction="sum")
    if not smoothing:
        return loss
    can_be_BKC = logp_BKC > -torch.inf
    even_BK = -torch.where(can_be_BKC, logp_BKC, 0.0).sum(-1) / can_be_BKC.sum(-1)
    if weight_BK is not None:
        even_BK = even_BK * weight_BK
    return loss * (1 - smoothing) + even_BK.sum() * smoothing
