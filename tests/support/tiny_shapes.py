"""Small config.json files of the Qwen families, as published.py has large ones: for models without a processor."""

from typing import Any

from random_families import RECIPES

TOKENS = {"image_token_id": 500, "video_token_id": 501, "vision_start_token_id": 502, "vision_end_token_id": 503}
VOCABULARY = {"vocab_size": 512, "bos_token_id": 1, "eos_token_id": 0}


def config(kind: str) -> dict[str, Any]:
    """The config.json of a small model with this model_type."""
    recipe = RECIPES[kind]
    parts = {"text_config": dict(recipe.text) | VOCABULARY, "vision_config": dict(recipe.vision)}
    return {"model_type": kind} | parts | TOKENS
