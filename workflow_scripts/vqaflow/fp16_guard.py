"""float16 that does not rot silently: what is not finite is found with its row, and cured or the run stopped.

Known from the field: Qwen2.5-VL's vision tower overflows float16 in its last MLPs on some images (a checkerboard of
56-pixel squares is one). The tower is frozen, so that such an image runs through it once more in float32. Nothing is
ever clamped or replaced: what is still not finite ends the job with the row's id.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vqaflow.errors import NotFinite, UserError
from vqaflow.progress import log
from vqaflow.vision import Grid, image_features

SKIPPED_STEPS_ALLOWED = 24  # GradScaler starts at 2^16: after 24 halvings the loss scale is 2^-8, and the cause another
CURE = (
    "Lower train.learning_rate, or set model.compute_dtype to bfloat16 (compute capability 8.0 and above) or float32."
)


def finite_features(
    visual: Any, pixels: Sequence[torch.Tensor], grids: Sequence[Grid], rows: Sequence[Mapping[str, Any]]
) -> list[torch.Tensor]:
    """`image_features`, with images whose features are not finite run again through the tower in float32.

    Raises UserError that names the row if even that does not give finite features in the tower's own precision.
    """
    features = image_features(visual, pixels, grids)
    if torch.cat(features).isfinite().all():
        return features
    bad = [i for i, made in enumerate(features) if not made.isfinite().all()]
    dtype = visual.patch_embed.proj.weight.dtype
    ids = ", ".join(repr(rows[i]["id"]) for i in bad)
    log.warning("row(s) %s: the vision tower overflows in %s; running it in float32 for them", ids, name_of(dtype))
    visual.float()  # and back again: exact, since every value came from the narrower type
    try:
        for i in bad:
            features[i] = image_features(visual, [pixels[i]], [grids[i]])[0].to(dtype)
    finally:
        visual.to(dtype)
    for i in bad:
        if not features[i].isfinite().all():
            raise UserError(
                f"row {rows[i]['id']!r} ({rows[i]['image_file']}): the vision tower's features are not finite in "
                f"{name_of(dtype)}, computed in float32 either. Check the image, or set model.compute_dtype to float32."
            )
    return features


def require_finite(
    row_ids: Sequence[str], states_BKH: torch.Tensor, logits_BK4: torch.Tensor, loss: torch.Tensor, where: str
) -> None:
    """Raise NotFinite that names the first row whose answer state or logits are not finite, if the loss is not.

    `loss` depends on every row's states and logits, so that one number tells whether to look closer.
    """
    if loss.isfinite():
        return
    for what, values in (("hidden state at the answer", states_BKH), ("letters' logits", logits_BK4)):
        for row, finite in zip(row_ids, values.isfinite().flatten(1).all(1).tolist(), strict=True):
            if not finite:
                raise NotFinite(f"row {row!r}: the {what} is not finite {where}. {CURE}")
    raise NotFinite(f"rows {', '.join(map(repr, row_ids))}: the loss is not finite {where}. {CURE}")


class ScalerWatch:
    """Ends a run whose gradients overflow step after step: then the loss scale is not the cause."""

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self.scaler, self.skipped = scaler, 0

    def after_step(self, scale_before: float, row_ids: Sequence[str], step: int) -> None:
        """Count a skipped step (the scaler halves its scale then); raises NotFinite after too many in a row."""
        if self.scaler.get_scale() >= scale_before:
            self.skipped = 0
            return
        self.skipped += 1
        log.info("step %d skipped: a gradient overflowed; the loss scale is now %g", step, self.scaler.get_scale())
        if self.skipped > SKIPPED_STEPS_ALLOWED:
            raise NotFinite(
                f"rows {', '.join(map(repr, row_ids))}: gradients are not finite at any loss scale at step {step}. "
                f"{CURE}"
            )


def name_of(dtype: torch.dtype) -> str:
    """float16 instead of torch.float16."""
    return str(dtype).removeprefix("torch.")
