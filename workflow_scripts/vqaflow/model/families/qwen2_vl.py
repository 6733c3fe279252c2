"""Qwen2-VL: the decoder of Qwen2.5-VL, and a tower in which every patch sees its whole image."""

from vqaflow.model.families.family import CLIP, Family, whole_image_features

FAMILY = Family(
    name="Qwen2-VL",
    kinds=("qwen2_vl",),
    network="Qwen2VLForConditionalGeneration",
    example="Qwen/Qwen2-VL-7B-Instruct",
    hub_names=("qwen2-vl",),
    llama_factory="qwen2_vl",
    image_processor="Qwen2VLImageProcessor",
    normalisation=CLIP,
    features=whole_image_features,
)
