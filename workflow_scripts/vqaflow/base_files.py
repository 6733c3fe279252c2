"""Which base model and which adapter it is, told from their files without loading them."""

import json
from pathlib import Path

from vqaflow.config import BaseConfig
from vqaflow.errors import UserError
from vqaflow.files import file_digest, value_digest

SUFFIXES = {".json", ".safetensors", ".jinja", ".txt"}
WHOLE_FILE_BYTES = 64 * 2**20
WEIGHTS, CONFIG, RUN = "adapter_model.safetensors", "adapter_config.json", "run.json"
# What of an adapter's configuration says which function its weights are.
FUNCTION = ("r", "lora_alpha", "use_rslora")


def base_digest(model: BaseConfig) -> str:
    """Which base it is: a hub name with its revision, or the content of a folder.

    Of files above 64 MB only size, first and last megabyte are read: enough to tell checkpoints apart, in seconds.
    """
    folder = Path(model.base)
    if not folder.is_dir():
        return value_digest([model.base, model.revision])
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    return value_digest([[p.name, _digest(p)] for p in files])


def _digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE_FILE_BYTES:
        return file_digest(path)
    with path.open("rb") as file:
        first = file.read(2**20)
        file.seek(-(2**20), 2)
        return value_digest([size, first.hex(), file.read().hex()])


def adapter_digest(folder: Path) -> str:
    """Which adapter it is: its weights' bytes and how they are scaled, wherever it lies.

    Raises UserError if a file of it is missing or unreadable.
    """
    config = adapter_config(folder)
    return value_digest([file_digest(folder / WEIGHTS), {key: config.get(key) for key in FUNCTION}])


def adapter_config(folder: Path) -> dict:
    """What PEFT says of an adapter; raises UserError if a file of it is missing or unreadable."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: the adapter has no {name}. Train it again (rule train_adapter).")
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / CONFIG}: damaged ({error}). Train the adapter again.") from error
