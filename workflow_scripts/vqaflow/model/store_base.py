"""Rule store_base: quantise a checkpoint once, and save the quantised base for all jobs.

Reading and quantising a 7B checkpoint takes several times as long as reading the quantised one, which is a third of its
size. Otherwise each fold, view and trial would do it again. `vqaflow store_base` runs the rule by hand.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.sections import BaseConfig, section
from vqaflow.model.base import best_device, compute_dtype, quantization
from vqaflow.model.stored_base import is_whole, keep_base, stored_name
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log


def store_base(model: Mapping[str, Any], bases: Path, out: Path, devices: int = 1) -> None:
    """Save the quantised base that `model` names in a folder of `bases`, and write the folder's name to `out`.

    `model` has the keys of BaseConfig; `devices` GPUs hold its layers. If nothing is quantised on this machine (`auto`
    without a GPU), jobs read the checkpoint itself and `out` says so. Raises UserError if the base cannot be loaded.
    """
    settings, device = section(BaseConfig, model), best_device()
    dtype, how = compute_dtype(settings, device), quantization(settings, device)
    record: dict[str, Any] = {"base": settings.base, "quantization": how, "compute_dtype": str(dtype), "folder": None}
    if how != "nf4":
        log.info(
            "%s: each job reads the checkpoint itself (model.quantization: %s, device: %s)",
            settings.base,
            model["quantization"],
            device.type,
        )
    else:
        folder = bases / stored_name(settings, dtype)
        if keep_base(settings, folder, device, devices) is None:
            log.info("%s: the quantised base is already there", folder)
        record["folder"] = folder.name if is_whole(folder) else None
    write_json(out, record)
