"""Stage store_base: the quantised base, kept under its content, so that a checkpoint is quantised once for all jobs.

Reading a 7B checkpoint and quantising it takes several times as long as reading the quantised one, which is a third of
its size, and each fold, view and trial would do it again.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from vqaflow.base_files import base_digest
from vqaflow.base_model import Base, best_device, compute_dtype, load_base, quantization
from vqaflow.config import BaseConfig, checked_config, entries, section
from vqaflow.file_lock import Lease
from vqaflow.files import atomic_folder, value_digest, write_json
from vqaflow.gpu_lease import lease_gpu
from vqaflow.progress import log, stage

FORMAT = 1
MANIFEST = "manifest.json"


def store_base(model: Mapping[str, Any], bases: Path, out: Path) -> None:
    """Put the base that `model` names into a folder of `bases`, quantised, and write to `out` which folder it is.

    `model` has the keys of BaseConfig. Where this machine quantises nothing (`auto` without a GPU), jobs read the
    checkpoint itself and `out` says so. Raises UserError if the base cannot be loaded.
    """
    settings, device = section(BaseConfig, model), best_device()
    dtype, how = compute_dtype(settings, device), quantization(settings, device)
    told: dict[str, Any] = {"base": settings.base, "quantization": how, "compute_dtype": str(dtype), "folder": None}
    if how == "none":
        log.info(
            "%s is used as it is: model.quantization %s on a %s", settings.base, model["quantization"], device.type
        )
    else:
        folder = bases / stored_name(settings, dtype)
        if keep_base(settings, folder, device) is None:
            log.info("%s: it is there already", folder)
        told["folder"] = folder.name if is_whole(folder) else None
    write_json(out, told)


def open_base(model: BaseConfig, bases: Path, device: torch.device | None = None) -> Base:
    """The base that `model` names, frozen and in evaluation mode, from `bases` if it is quantised.

    A quantised base that is not there, or not whole, is put there first, by one job, while others that need it wait.
    """
    device = device or best_device()
    if quantization(model, device) == "none":
        return load_base(model, device)
    folder = bases / stored_name(model, compute_dtype(model, device))
    began = monotonic()
    base = keep_base(model, folder, device)
    if base is None:
        base = load_base(model, device, folder)
        log.info("%s: loaded in %.1f s", folder, monotonic() - began)
    return base


def keep_base(model: BaseConfig, folder: Path, device: torch.device) -> Base | None:
    """Quantise a base and put it into `folder`; None if it is there already, else the base, to be used."""
    with Lease(folder.with_name(f".{folder.name}.lock")).held():
        if is_whole(folder):
            return None
        base = load_base(model, device)
        keep_network(base.qwen, folder)
        return base


def stored_name(model: BaseConfig, dtype: torch.dtype) -> str:
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


def main() -> None:
    """Run the stage by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.store_base", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of all artifacts")
    arguments = parser.parse_args()
    with stage(None):
        model = entries(BaseConfig, checked_config(*arguments.config)["model"])
        lease_gpu()  # torch is imported, but has not asked for a GPU yet
        store_base(model=model, bases=arguments.results / "base", out=arguments.results / "base.json")


if __name__ == "__main__":
    main()
