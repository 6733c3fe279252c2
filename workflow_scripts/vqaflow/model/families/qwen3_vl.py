"""Qwen3-VL, dense and sparse: norms of queries and keys, interleaved M-RoPE, DeepStack.

DeepStack: the tower gives features of several of its blocks. The last one's are the image's tokens; the others are
added to the image tokens' hidden states after the first decoder layers.
"""

from dataclasses import replace

from vqaflow.model.families.family import ATTENTION, HALVES, Family, whole_image_features

DENSE = Family(
    name="Qwen3-VL",
    kinds=("qwen3_vl",),
    network="Qwen3VLForConditionalGeneration",
    example="Qwen/Qwen3-VL-8B-Instruct",
    hub_names=("qwen3-vl",),
    llama_factory="qwen3_vl_nothink",
    image_processor="Qwen2VLImageProcessor",
    normalisation=HALVES,
    features=whole_image_features,
    interleaved=True,
)
SPARSE = replace(
    DENSE,
    name="Qwen3-VL (experts)",
    kinds=("qwen3_vl_moe",),
    network="Qwen3VLMoeForConditionalGeneration",
    example="Qwen/Qwen3-VL-30B-A3B-Instruct",
    adapted=ATTENTION | {name: () for name in ("gate_proj", "up_proj", "down_proj")},
    nf4="its experts are stacked weights, which NF4 does not reach",
)
