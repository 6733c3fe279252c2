"""Qwen2-VL: the decoder of Qwen2.5-VL, and a tower in which every patch sees its whole image."""

from vqaflow.model.families.family import CLIP, Family, whole_image_features

FAMILY = Family(
    name="Qwen2-VL",
    kinds=("qwen2_vl",),
    network="Qwen2VLForConditionalGeneration",
    example="Qwen/Qwen2-VL-7B-Instruct",
    image_processor="Qwen2VLImageProcessor",
    normalisation=CLIP,
    features=whole_image_features,
)
