"""float16 that does not rot silently: what is not finite is found with its row, and cured or the run stopped.

Known from the field: Qwen2.5-VL's vision tower overflows float16 in its last MLPs on some images (a checkerboard of
56-pixel squares is one). The tower is frozen, so that such an image runs through it once more in float32. Nothing is
ever clamped or replaced: what is still not finite ends the job with the row's id.
"""

from collections.abc import Sequence
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.model.numerics.precision import name_of
from vqaflow.model.vision.windows import Grid, image_features
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log


def finite_features(
    visual: Any, pixels: Sequence[torch.Tensor], grids: Sequence[Grid], rows: Sequence[Row]
) -> list[torch.Tensor]:
    """`image_features`, with images whose features are not finite run again through the tower in float32.

    Raises UserError that names the row if even that does not give finite features in the tower's own precision.
    """
    features = image_features(visual, pixels, grids)
    if torch.cat(features).isfinite().all():
        return features
    bad = [i for i, made in enumerate(features) if not made.isfinite().all()]
    dtype = visual.patch_embed.proj.weight.dtype
    ids = ", ".join(repr(rows[i].id) for i in bad)
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
                f"row {rows[i].id!r} ({rows[i].image_file}): the vision tower's features are not finite in "
                f"{name_of(dtype)}, computed in float32 either. Check the image, or set model.compute_dtype to float32."
            )
    return features
