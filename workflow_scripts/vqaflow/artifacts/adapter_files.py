"""An adapter's files: their names, and what they say without loading the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.parts import seed_of
from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import parse_json, write_json

WEIGHTS, CONFIG, RUN = "adapter_model.safetensors", "adapter_config.json", "run.json"
PICKLE = "adapter_model.bin"  # what older PEFT wrote
# The entries of an adapter's configuration that decide which function its weights compute.
FUNCTION = ("r", "lora_alpha", "use_rslora")
# Keys of run.json: the digests of the folder's other files, and the digest of all else that it says.
FILES, DIGEST = "files", "digest"


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
            raise _lacks(folder, name)
    try:
        config = parse_json((folder / CONFIG).read_text(encoding="utf-8"))
        return config | {"r": int(config["r"]), "lora_alpha": float(config["lora_alpha"])}
    except (ValueError, TypeError, KeyError) as error:
        again = "Train the adapter again (rule train_adapter)"
        raise UserError(f"{folder / CONFIG}: is damaged ({error!r}). {again}.") from error


def _lacks(folder: Path, name: str) -> UserError:
    """The error for a file that an adapter lacks; a pickle of its weights, which can run code, is not opened."""
    has = f", only {PICKLE}, a pickle, which can run any code when it is opened" if (folder / PICKLE).is_file() else ""
    return UserError(f"{folder}: the adapter has no {name}{has}. Train it again (rule train_adapter).")


def read_run(adapter: Path) -> dict[str, Any]:
    """The run.json of an adapter's folder. Raises UserError if it is missing, damaged or incomplete."""
    file = adapter / RUN
    again = "Train the adapter again (rule train_adapter)"
    try:
        run = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: is missing; only it says what the adapter was trained on. {again}.") from None
    except ValueError as error:
        raise UserError(f"{file}: is damaged ({error}). {again}.") from error
    if not isinstance(run, dict) or not all(isinstance(run.get(key), dict) for key in ("parity", "versions")):
        raise UserError(f"{file}: has no `parity` or no `versions`. {again}.")
    return run


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json: `record`, and the digests by which a file that was changed or exchanged later is found."""
    digests = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.name != RUN}
    said = {**record, FILES: digests}
    write_json(folder / RUN, {**said, DIGEST: value_digest(said)})


def check_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, Any]:
    """The run.json of an adapter's folder, whose files (those with `names`; None: all) are as training wrote them.

    Raises UserError that names the file that is not.
    """
    run, again = read_run(folder), f"Delete {folder} and train again (rule train_adapter)."
    said = {key: value for key, value in run.items() if key != DIGEST}
    if not isinstance(run.get(FILES), dict) or run.get(DIGEST) != value_digest(said):
        raise UserError(f"{folder / RUN}: was changed since training wrote it, or has no digest. {again}")
    for name in run[FILES] if names is None else names:
        if not (folder / name).is_file():
            raise _lacks(folder, name)
        if file_digest(folder / name) != run[FILES].get(name):
            raise UserError(f"{folder / name}: is not the file that training wrote (see {RUN}). {again}")
    return run


def check_log(log: Path) -> None:
    """Raise UserError if a log of training is not the file that the run.json beside it names: it may be cut short.

    Adapters that come from elsewhere may have no run.json, or one without digests.
    """
    run = log.with_name(RUN)
    promised = read_run(log.parent).get(FILES) if run.is_file() and log.is_file() else None
    if isinstance(promised, dict) and promised.get(log.name, "") not in ("", file_digest(log)):
        raise UserError(
            f"{log}: is not the file that training wrote (see {RUN}). Delete {log.parent} and run the rule "
            "train_adapter again."
        )


def require_part(folder: Path, run: Mapping[str, Any], part: str, held_out: Iterable[str]) -> None:
    """Raise UserError unless an adapter was trained without the rows `held_out`, and from the seed of its `part`.

    That of another fold, copied or renamed, has seen the rows that it would be scored on.
    """
    again = f"Delete {folder} and train again (rule train_adapter)."
    if run.get("held_out") != value_digest(sorted(held_out)):
        raise UserError(
            f"{folder / RUN}: the adapter was trained with other folds, or is that of another fold: it may have seen "
            f"the rows of fold {part}. {again}"
        )
    seed = seed_of(part)
    if seed is not None and run["train"]["seed"] != seed:
        raise UserError(f"{folder / RUN}: the adapter was trained from the seed {run['train']['seed']}. {again}")
