"""What must be the same when an adapter is trained and when it scores; it stands in the adapter's run.json."""

import sys
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from vqaflow.base_files import base_digest
from vqaflow.base_model import Base
from vqaflow.config import ModelConfig, PromptConfig
from vqaflow.encoding import RowEncoder
from vqaflow.files import value_digest

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "qwen-vl-utils")


def parity(base: Base, encoder: RowEncoder, model: ModelConfig, prompt: PromptConfig) -> dict[str, Any]:
    """The fields that training and scoring must agree on, as plain values."""
    return {
        "base": base_digest(model),
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "prompt": value_digest([asdict(prompt), encoder.renderer.head, encoder.renderer.tail]),
        "processor": type(base.processor).__name__,
        "image_processor": type(base.processor.image_processor).__name__,
        "letter_tokens": encoder.letter_ids,
    }


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}
