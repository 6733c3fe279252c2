"""Quantised bases, kept under their content: quantising a checkpoint once serves every later job.

Reading a 7B checkpoint and quantising it takes several times as long as reading the quantised one, which is a third of
its size, and each fold, view and trial would do it again.
"""

import json
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from vqaflow.base_files import base_digest
from vqaflow.base_model import Base, best_device, compute_dtype, load_base, quantization
from vqaflow.config import ModelConfig
from vqaflow.file_lock import Lease
from vqaflow.files import atomic_folder, value_digest, write_json
from vqaflow.progress import log

FORMAT = 1
MANIFEST = "manifest.json"


def open_base(model: ModelConfig, bases: Path, device: torch.device | None = None) -> Base:
    """The base that `model` names, frozen and in evaluation mode, from `bases` if it is quantised.

    A quantised base that is not there yet is put there first, by one job, while others that need it wait.
    """
    device = device or best_device()
    if quantization(model, device) == "none":
        return load_base(model, device)
    folder = bases / stored_name(model, compute_dtype(model, device))
    began = monotonic()
    with Lease(bases / f".{folder.name}.lock").held():
        if not is_whole(folder):
            base = load_base(model, device)
            keep_network(base.qwen, folder)
            return base
    base = load_base(model, device, folder)
    log.info("%s: loaded in %.1f s", folder, monotonic() - began)
    return base


def stored_name(model: ModelConfig, dtype: torch.dtype) -> str:
    """The folder's name of a quantised base: the digest of all that its bytes depend on."""
    return value_digest([FORMAT, base_digest(model), "nf4", str(dtype)])[:16]


def keep_network(network: Any, folder: Path) -> None:
    """`save_network`, but a full disk costs later jobs time, not this one its result."""
    try:
        save_network(network, folder)
    except OSError as error:
        log.warning("%s: the quantised base is not kept (%s)", folder, error)
        return
    log.info("%s: the quantised base is kept, %.1f GB", folder, sum(sizes(folder).values()) / 1e9)


def save_network(network: Any, folder: Path) -> None:
    """Write a quantised network to `folder`, whole or not at all."""
    with atomic_folder(folder) as partial:
        network.save_pretrained(partial)
        write_json(partial / MANIFEST, sizes(partial))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a stored base but its manifest."""
    return {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.name != MANIFEST}


def is_whole(folder: Path) -> bool:
    """Whether a stored base is there with the files and sizes of its manifest."""
    try:
        promised: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return promised == sizes(folder)
