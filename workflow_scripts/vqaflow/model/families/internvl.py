"""InternVL 3 and 3.5 in the library's format (-HF): pictures are cut into square tiles, plus one small overview."""

from typing import Any

from vqaflow.model.families.family import Family


def image_options(image_processor: Any, min_pixels: int, max_pixels: int) -> dict[str, Any]:
    """As many tiles as `max_pixels` hold, at least one; the overview of a picture with several tiles comes on top."""
    tile = image_processor.size["height"] * image_processor.size["width"]
    most = max(1, max_pixels // tile)
    return {
        "crop_to_patches": most > 1,
        "min_patches": min(most, max(1, min_pixels // tile)),
        "max_patches": most,
    }


FAMILY = Family(
    name="InternVL 3.5",
    kinds=("internvl",),
    network="InternVLForConditionalGeneration",
    example="OpenGVLab/InternVL3_5-8B-HF",
    hub_names=("internvl",),
    llama_factory="intern_vl",
    image_processor="GotOcr2ImageProcessor",
    processors=("InternVLProcessor",),
    prefix="separate",
    tower="model.vision_tower",
    unquantized=("model.vision_tower", "model.multi_modal_projector", "lm_head"),
    image_options=image_options,
)
