"""Find NaN and infinity in training, and the row that caused them.

Shapes: B rows, K choice orders, H hidden size, C letters.
"""

from collections.abc import Sequence

import torch

from vqaflow.model.numerics.precision import name_of
from vqaflow.runtime.errors import NotFinite
from vqaflow.runtime.stage import log

SKIPPED_STEPS_ALLOWED = 24  # GradScaler starts at 2^16: after 24 halvings the scale, 2^-8, is not the cause
CURE = (
    "The learning rate is probably too high for this precision. Lower train.learning_rate, or set model.compute_dtype "
    "to bfloat16 (GPUs of compute capability 8.0 and above) or float32."
)


def require_finite(
    row_ids: Sequence[str], states_BKH: torch.Tensor, logits_BKC: torch.Tensor, loss: torch.Tensor, step: int
) -> None:
    """Raise NotFinite if the loss is NaN or infinite; it names the first row whose answer state or logits are.

    `loss` depends on every row's states and logits: this one number shows whether the rows must be checked. If
    gradients are recorded, the pass belongs to training step `step`, otherwise to the validation after it.
    """
    if loss.isfinite():
        return
    is_training, precision = torch.is_grad_enabled(), name_of(states_BKH.dtype)
    shown_BKC = logits_BKC.masked_fill(logits_BKC == -torch.inf, 0.0)  # choices that a row lacks
    where = f"at step {step} in {precision}" if is_training else f"in the validation after step {step} in {precision}"
    for what, values in (("hidden state at the answer", states_BKH), ("letters' logits", shown_BKC)):
        for row, finite in zip(row_ids, values.isfinite().flatten(1).all(1).tolist(), strict=True):
            if not finite:
                raise NotFinite(f"row {row!r}: the {what} became NaN or infinite {where}. {CURE}")
    raise NotFinite(f"rows {', '.join(map(repr, row_ids))}: the loss became NaN or infinite {where}. {CURE}")


class ScalerWatch:
    """Ends a run whose gradients overflow in too many steps in a row: then the loss scale is not the cause."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self.scaler, self.skipped = scaler, 0

    def after_step(self, scale_before: float, row_ids: Sequence[str], step: int) -> bool:
        """Whether the weights changed: the scaler skips a step whose gradients overflow, and halves its scale.

        The learning rate must wait with them. Raises NotFinite after too many skipped steps in a row.
        """
        if self.scaler.get_scale() >= scale_before:
            self.skipped = 0
            return True
        self.skipped += 1
        log.info("step %d skipped: a gradient overflowed; the loss scale is now %g", step, self.scaler.get_scale())
        if self.skipped > SKIPPED_STEPS_ALLOWED:
            raise NotFinite(
                f"rows {', '.join(map(repr, row_ids))}: the gradients overflow at step {step} at every loss scale. "
                f"{CURE}"
            )
        return False
