"""What must be the same when an adapter is trained and when it scores; it stands in the adapter's run.json."""

import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vqaflow.base_model import Base
from vqaflow.config import ModelConfig, PromptConfig
from vqaflow.encoding import RowEncoder
from vqaflow.files import file_digest, value_digest

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "qwen-vl-utils")
WHOLE_FILE_BYTES = 64 * 2**20


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


def base_digest(model: ModelConfig) -> str:
    """Which base it is: a hub name with its revision, or the content of a folder.

    Of files above 64 MB only size, first and last megabyte are read: enough to tell checkpoints apart, in seconds.
    """
    folder = Path(model.base)
    if not folder.is_dir():
        return value_digest([model.base, model.revision])
    files = sorted(p for p in folder.iterdir() if p.suffix in {".json", ".safetensors", ".jinja", ".txt"})
    return value_digest([[p.name, _digest(p)] for p in files])


def _digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE_FILE_BYTES:
        return file_digest(path)
    with path.open("rb") as file:
        first = file.read(2**20)
        file.seek(-(2**20), 2)
        return value_digest([size, first.hex(), file.read().hex()])
