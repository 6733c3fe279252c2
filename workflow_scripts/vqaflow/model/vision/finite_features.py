"""NaN and infinity in image features: they are found with their row, and computed again or reported.

Known from the field: Qwen2.5-VL's vision tower overflows float16 in its last MLPs on some images (a checkerboard of
56-pixel squares is one). The tower is frozen, so such an image can run through it again in float32. Nothing is ever
clamped or replaced: if that is not finite either, the job ends with the row's id.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.model.numerics.precision import name_of
from vqaflow.model.vision.windows import Grid
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

Compute = Callable[[Any, Sequence[torch.Tensor], Sequence[Grid]], list[torch.Tensor]]


def finite_features(
    compute: Compute, visual: Any, pixels: Sequence[torch.Tensor], grids: Sequence[Grid], rows: Sequence[Row]
) -> list[torch.Tensor]:
    """A family's features of images, but those that are not finite run through the tower again in float32.

    `compute` makes the features of a list of images with the tower `visual`.

    Raises UserError, which names the row, if even then they are not finite in the tower's own precision.
    """
    features = compute(visual, pixels, grids)
    if torch.cat(features).isfinite().all():
        return features
    bad = [i for i, made in enumerate(features) if not made.isfinite().all()]
    dtype = visual.patch_embed.proj.weight.dtype
    ids = ", ".join(repr(rows[i].id) for i in bad)
    log.warning("row(s) %s: the vision tower overflows in %s; running it in float32 for these", ids, name_of(dtype))
    visual.float()  # and back again: exact, since every value came from the narrower type
    try:
        for i in bad:
            features[i] = compute(visual, [pixels[i]], [grids[i]])[0].to(dtype)
    finally:
        visual.to(dtype)
    for i in bad:
        if not features[i].isfinite().all():
            raise UserError(
                f"row {rows[i].id!r} ({rows[i].image_file}): the vision tower's features are NaN or infinite in "
                f"{name_of(dtype)}, even computed in float32. Check the image, or set model.compute_dtype to float32."
            )
    return features
