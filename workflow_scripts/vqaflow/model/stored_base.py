"""The quantised base on disk: named by its content, written once, read by all later jobs."""

from pathlib import Path
from time import monotonic
from typing import Any

import torch

from vqaflow.config.sections import BaseConfig
from vqaflow.model.base import Base, best_device, compute_dtype, load_base, quantization
from vqaflow.model.base_digest import base_digest
from vqaflow.model.checkpoint import family_in
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.files import MANIFEST, atomic_folder, read_manifest, write_manifest
from vqaflow.runtime.locks import Lease
from vqaflow.runtime.stage import log
from vqaflow.runtime.versions import package_versions

FORMAT = 1
MAKERS = ("transformers", "bitsandbytes")


def open_base(model: BaseConfig, bases: Path, device: torch.device | None = None, devices: int = 1) -> Base:
    """The base that `model` names, frozen and in evaluation mode; one in NF4 is read from the folder `bases`.

    Its layers lie on `devices` GPUs.

    If the quantised base is missing or incomplete, one job saves it first, while other jobs that need it wait.
    """
    device = device or best_device()
    if quantization(model, device) != "nf4":
        return load_base(model, device, devices=devices)
    folder = bases / stored_name(model, compute_dtype(model, device))
    began = monotonic()
    base = keep_base(model, folder, device, devices)
    if base is None:
        base = load_base(model, device, folder, devices)
        log.info("%s: loaded in %.1f s", folder, monotonic() - began)
    return base


def keep_base(model: BaseConfig, folder: Path, device: torch.device, devices: int = 1) -> Base | None:
    """Quantise a base and save it in `folder`. Returns the base, or None if it was already there."""
    with Lease(folder.with_name(f".{folder.name}.lock")).held():
        if is_whole(folder):
            return None
        base = load_base(model, device, devices=devices)
        keep_network(base.network, folder)
        return base


def stored_name(model: BaseConfig, dtype: torch.dtype) -> str:
    """The name of a quantised base's folder: the digest of all that its bytes depend on.

    Names and layout of quantised weights are those of the packages that wrote them: another version quantises again.
    """
    packages = [f"{name} {package_versions()[name]}" for name in MAKERS]
    return value_digest([FORMAT, base_digest(model), "nf4", str(dtype), *family_in(model).unquantized, *packages])[:16]


def keep_network(network: Any, folder: Path) -> None:
    """`save_network`, but if the disk is full, this job continues and only later jobs lose time."""
    try:
        save_network(network, folder)
    except OSError as error:
        log.warning("%s: the quantised base cannot be saved (%s); each job will quantise it again", folder, error)
        return
    log.info("%s: saved the quantised base, %.1f GB", folder, sum(sizes(folder).values()) / 1e9)


def save_network(network: Any, folder: Path) -> None:
    """Write a quantised network to `folder`, whole or not at all."""
    with atomic_folder(folder) as partial:
        network.save_pretrained(partial)
        write_manifest(partial, sizes(partial))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a stored base, except its manifest."""
    return {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.name != MANIFEST}


def is_whole(folder: Path) -> bool:
    """Whether a stored base exists and has the files and sizes of its manifest."""
    promised = read_manifest(folder)
    return bool(promised) and promised == sizes(folder)
