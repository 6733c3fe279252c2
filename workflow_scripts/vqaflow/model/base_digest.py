"""The identity of a base model, from its files, without loading the model."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from vqaflow.config.sections import BaseConfig
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.files import parse_json

SUFFIXES = {".json", ".safetensors", ".bin", ".jinja", ".txt"}
WHOLE_FILE_BYTES = 64 * 2**20
KNOWN = "VQAFLOW_BASE_DIGESTS"  # the jobs of a run need not read thousands of places of a 7B again
SAMPLE_BYTES, SAMPLES = 2048, 4096


def base_digest(model: BaseConfig) -> str:
    """The digest of a hub name with its revision, or of the content of a folder.

    Files above 64 MB are sampled, in a safetensors file within every tensor: anything that was trained or merged into a
    base shows in the samples, and a 7B takes one second; once in a run, as long as no file changes.
    """
    folder = Path(model.base)
    if not folder.is_dir():
        return value_digest([model.base, model.revision])
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    state = _state(files)
    known = _known()
    if known.get(str(folder.absolute()), [None])[0] != state:
        known[str(folder.absolute())] = [state, value_digest([[p.name, _digest(p)] for p in files])]
        os.environ[KNOWN] = json.dumps(known)
    return known[str(folder.absolute())][1]


def _state(files: Sequence[Path]) -> str:
    """What changes with any of `files`: their names, sizes, places on the disk and times."""
    found = [(p.name, p.stat()) for p in files]
    return value_digest([[name, s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns] for name, s in found])


def _known() -> dict[str, list[str]]:
    """The digests that this process, or the one that started it, has computed: state and digest by folder."""
    try:
        found = parse_json(os.environ.get(KNOWN, "{}"))
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= WHOLE_FILE_BYTES:
        return file_digest(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in _sampled(file, size, path.suffix == ".safetensors"):
            file.seek(start)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _sampled(file: BinaryIO, size: int, is_safetensors: bool) -> Iterator[int]:
    """Where samples begin: in a safetensors file, its header and each tensor's start, middle and end; else evenly."""
    begin, spans = _tensors(file) if is_safetensors else (0, [])
    if not spans:
        yield from range(0, size, size // SAMPLES)
        return
    yield from range(0, begin, SAMPLE_BYTES)
    for first, last in spans:
        for start in (first, (first + last) // 2, last - SAMPLE_BYTES):
            yield begin + max(start, first)


def _tensors(file: BinaryIO) -> tuple[int, list[tuple[int, int]]]:
    """Where a safetensors file's data begin, and each tensor's first and last byte; no tensors if it is damaged."""
    length = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(min(length, WHOLE_FILE_BYTES)))
        return 8 + length, [tensor["data_offsets"] for name, tensor in header.items() if name != "__metadata__"]
    except (ValueError, LookupError, AttributeError, TypeError):  # loading the base will report it
        return 0, []
