"""Qwen2-VL: the decoder of Qwen2.5-VL, and a tower in which every patch sees its whole image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vqaflow.model.families.family import CLIP, Family, Grid

if TYPE_CHECKING:
    import torch


def features(visual: Any, patches: "Sequence[torch.Tensor]", grids: Sequence[Grid]) -> "list[torch.Tensor]":
    """Features (visual tokens, H) per image."""
    from vqaflow.model.vision.whole_images import whole_image_features

    return whole_image_features(visual, patches, grids)


FAMILY = Family(
    name="Qwen2-VL",
    kinds=("qwen2_vl",),
    network="Qwen2VLForConditionalGeneration",
    example="Qwen/Qwen2-VL-7B-Instruct",
    image_processor="Qwen2VLImageProcessor",
    normalisation=CLIP,
    features=features,
)
