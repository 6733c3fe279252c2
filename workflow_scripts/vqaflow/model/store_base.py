"""Stage store_base: the quantised base, kept under its content, so that a checkpoint is quantised once for all jobs.

Reading a 7B checkpoint and quantising it takes several times as long as reading the quantised one, which is a third of
its size, and each fold, view and trial would do it again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.sections import BaseConfig, section
from vqaflow.model.base import best_device, compute_dtype, quantization
from vqaflow.model.stored_base import is_whole, keep_base, stored_name
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log


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
