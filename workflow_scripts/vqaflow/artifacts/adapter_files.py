"""An adapter's files: their names, and what they say without loading the model."""

import json
from pathlib import Path
from typing import Any

from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError

WEIGHTS, CONFIG, RUN = "adapter_model.safetensors", "adapter_config.json", "run.json"
# The entries of an adapter's configuration that decide which function its weights compute.
FUNCTION = ("r", "lora_alpha", "use_rslora")


def adapter_digest(folder: Path) -> str:
    """Identity of an adapter: its weights' bytes and their scaling, not its folder.

    Raises UserError if one of its files is missing or unreadable.
    """
    config = adapter_config(folder)
    return value_digest([file_digest(folder / WEIGHTS), {key: config.get(key) for key in FUNCTION}])


def adapter_config(folder: Path) -> dict:
    """An adapter's PEFT configuration. Raises UserError if one of its files is missing or unreadable."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: the adapter has no {name}. Train it again (rule train_adapter).")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return config | {"r": int(config["r"]), "lora_alpha": float(config["lora_alpha"])}
    except (ValueError, TypeError, KeyError) as error:
        again = "Train the adapter again (rule train_adapter)"
        raise UserError(f"{folder / CONFIG}: is damaged ({error!r}). {again}.") from error


def read_run(adapter: Path) -> dict[str, Any]:
    """The run.json of an adapter's folder. Raises UserError if it is missing, damaged or incomplete."""
    file = adapter / RUN
    again = "Train the adapter again (rule train_adapter)"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: is missing; only it says what the adapter was trained on. {again}.") from None
    except ValueError as error:
        raise UserError(f"{file}: is damaged ({error}). {again}.") from error
    if not isinstance(run, dict) or not all(isinstance(run.get(key), dict) for key in ("parity", "versions")):
        raise UserError(f"{file}: has no `parity` or no `versions`. {again}.")
    return run
