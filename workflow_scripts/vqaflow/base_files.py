"""Which base model it is, told without loading it."""

from pathlib import Path

from vqaflow.config import ModelConfig
from vqaflow.files import file_digest, value_digest

SUFFIXES = {".json", ".safetensors", ".jinja", ".txt"}
WHOLE_FILE_BYTES = 64 * 2**20


def base_digest(model: ModelConfig) -> str:
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
