"""The training objective is the metric: cross-entropy at the answer's position, in float32.

It returns sums over rows and orders, not means: a step's loss does not depend on how its rows are cut into passes.

Shapes: B rows, K choice orders, N prompts (each row in each order), H hidden size, V vocabulary, C letters.
"""

import torch
from torch.nn.functional import cross_entropy, log_softmax

from vqaflow.model.decoder.branches import capped, letter_logits


def answer_loss(
    objective: str,
    states_BKH: torch.Tensor,
    target_BK: torch.Tensor,
    letter_ids: list[int],
    letter_rows_CH: torch.Tensor,
    head_VH: torch.Tensor | None,
    smoothing: float,
    softcap: float | None = None,
    choices_B: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed loss and letter logits (B, K, C) of the answers at positions `target_BK` (from 0).

    `choices_B` is how many choices each row has, None: all have C. A row with fewer shows them at the first positions;
    the logits of the others are -inf. `choice`: over the letters that the row shows, smoothed over them; it needs C
    rows of the head. `lm`: over the vocabulary, at the answer's position only, which needs the head but never (B, L, V)
    logits. `mixed`: their mean.
    """
    logits_BKC = without_absent(letter_logits(states_BKH, letter_rows_CH, softcap), choices_B)
    losses = []
    if objective in ("choice", "mixed"):
        losses.append(choice_loss(logits_BKC.flatten(0, 1), target_BK.flatten(), smoothing, choices_B is None))
    if objective in ("lm", "mixed"):
        assert head_VH is not None, "the objective needs the language-model head"
        tokens_BK = torch.tensor(letter_ids, device=target_BK.device)[target_BK]
        with torch.autocast(states_BKH.device.type, enabled=False):
            logits_BKV = capped(states_BKH.float() @ head_VH.float().T, softcap)
        losses.append(cross_entropy(logits_BKV.flatten(0, 1), tokens_BK.flatten(), reduction="sum"))
    return torch.stack(losses).mean(), logits_BKC


def without_absent(logits_BKC: torch.Tensor, choices_B: torch.Tensor | None) -> torch.Tensor:
    """The logits with -inf at positions that a row does not show; it shows the first `choices_B`."""
    if choices_B is None:
        return logits_BKC
    positions_C = torch.arange(logits_BKC.shape[-1], device=logits_BKC.device)
    return logits_BKC.masked_fill(positions_C >= choices_B[:, None, None], -torch.inf)


def choice_loss(logits_NC: torch.Tensor, target_N: torch.Tensor, smoothing: float, are_whole: bool) -> torch.Tensor:
    """Summed cross-entropy over the letters of each of N prompts; the logits of those that it lacks are -inf.

    torch's own smoothing would give a share of the target to the absent ones, and a loss that is infinite.
    """
    if are_whole:
        return cross_entropy(logits_NC, target_N, label_smoothing=smoothing, reduction="sum")
    there_NC = logits_NC.detach() > -torch.inf
    logp_NC = log_softmax(logits_NC, -1).masked_fill(~there_NC, 0.0)
    even_N = logp_NC.sum(-1) / there_NC.sum(-1)
    right_N = logp_NC.gather(-1, target_N[:, None])[:, 0]
    return -((1 - smoothing) * right_N + smoothing * even_N).sum()
