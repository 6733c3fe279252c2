"""An adapter for programs that want its modules by name: training names them by a regular expression."""

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open

from vqaflow.artifacts.adapter_files import CONFIG, WEIGHTS, adapter_config
from vqaflow.evaluation.export.places import export_folder
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_json

PREFIX = "base_model.model."


def export_adapter(adapter: Path, out: Path, force: bool) -> int:
    """Copy an adapter's weights to the folder `out`, with a configuration that lists its modules by their full names.

    Short names would match the vision tower's linears too. Returns the number of modules. Raises UserError if the
    adapter cannot be read.
    """
    config = adapter_config(adapter)
    try:
        with safe_open(adapter / WEIGHTS, framework="numpy") as file:
            names = sorted({name.removeprefix(PREFIX).partition(".lora_")[0] for name in file.keys()})
    except SafetensorError as error:
        raise UserError(f"{adapter / WEIGHTS}: damaged ({error}). Copy or train the adapter again.") from error
    with export_folder(out, "adapter", force) as partial:
        shutil.copyfile(adapter / WEIGHTS, partial / WEIGHTS)
        write_json(partial / CONFIG, config | {"target_modules": names})
    return len(names)
