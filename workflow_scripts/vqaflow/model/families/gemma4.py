"""Gemma 4, with a vision tower (E2B to 31B) and without one (12B): a budget of soft tokens per picture.

The picture is scaled up or down until it fills the budget, so `min_pixels` has no meaning of its own here.
"""

from dataclasses import replace
from typing import Any

from vqaflow.model.families.family import Family

BUDGETS = (70, 140, 280, 560, 1120)  # soft tokens per picture; the image processor accepts no others


def image_options(image_processor: Any, min_pixels: int, max_pixels: int) -> dict[str, Any]:
    """The largest budget whose picture has at most `max_pixels`, but at least the smallest budget."""
    pixels_per_token = (image_processor.patch_size * image_processor.pooling_kernel_size) ** 2
    fitting = [budget for budget in BUDGETS if budget * pixels_per_token <= max_pixels]
    return {"max_soft_tokens": max(fitting, default=BUDGETS[0])}


FAMILY = Family(
    name="Gemma 4",
    kinds=("gemma4",),
    network="Gemma4ForConditionalGeneration",
    example="google/gemma-4-31B-it",
    hub_names=("gemma-4",),
    llama_factory="gemma4",
    image_processor="Gemma4ImageProcessor",
    processors=("Gemma4Processor", "Gemma4UnifiedProcessor"),
    prefix="separate",
    tower="model.vision_tower",
    unquantized=(
        "model.vision_tower",
        "model.embed_vision",
        "model.audio_tower",
        "model.embed_audio",
        "per_layer_model_projection",
        ".router.proj",
        "lm_head",
    ),
    float16="its MLPs and its picture features exceed float16's range (NaN)",
    image_options=image_options,
)
UNIFIED = replace(
    FAMILY,
    name="Gemma 4 (without a tower)",
    kinds=("gemma4_unified",),
    network="Gemma4UnifiedForConditionalGeneration",
    example="google/gemma-4-12B-it",
    image_processor="Gemma4UnifiedImageProcessor",
    tower="model.embed_vision",
)
