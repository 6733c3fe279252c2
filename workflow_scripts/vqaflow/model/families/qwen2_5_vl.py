"""Qwen2.5-VL: most blocks of its tower attend within windows, which a fused forward computes together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vqaflow.model.families.family import CLIP, Family, Grid

if TYPE_CHECKING:
    import torch


def features(visual: Any, patches: "Sequence[torch.Tensor]", grids: Sequence[Grid]) -> "list[torch.Tensor]":
    """Features (visual tokens, H) per image."""
    from vqaflow.model.vision.windows import image_features

    return image_features(visual, patches, grids)


FAMILY = Family(
    name="Qwen2.5-VL",
    kinds=("qwen2_5_vl",),
    network="Qwen2_5_VLForConditionalGeneration",
    example="Qwen/Qwen2.5-VL-7B-Instruct",
    hub_names=("qwen2.5-vl", "qwen2_5-vl"),
    llama_factory="qwen2_vl",
    image_processor="Qwen2VLImageProcessor",
    normalisation=CLIP,
    features=features,
)
