"""What training and scoring must agree on: written beside the adapter when it is made, compared before it is used."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqaflow.base_files import RUN, base_digest
from vqaflow.config import ModelConfig, PromptConfig
from vqaflow.errors import UserError
from vqaflow.files import value_digest
from vqaflow.progress import log

if TYPE_CHECKING:  # torch takes seconds: not for who only asks for versions
    from vqaflow.base_model import Base
    from vqaflow.encoding import RowEncoder

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "qwen-vl-utils")
# They make pixels, positions and the model's code; their minor releases have changed each in silence. The others change
# a result by no more than rounding.
DECISIVE_PACKAGES = ("transformers", "qwen-vl-utils")
CURES = {
    "base": "Set model.base and model.revision to the base that the adapter was trained on",
    "min_pixels": "Set model.min_pixels to the adapter's value",
    "max_pixels": "Set model.max_pixels to the adapter's value",
    "prompt": "Set the section prompt, or the base's chat template, back to what the adapter was trained with",
    "processor": "Use the processor files of the base that the adapter was trained on",
    "image_processor": "Use the processor files of the base that the adapter was trained on",
    "letter_tokens": "Use the tokenizer files of the base that the adapter was trained on",
}
PRECISION = ("dtype", "quantization")


def parity(base: "Base", encoder: "RowEncoder", model: ModelConfig, prompt: PromptConfig) -> dict[str, Any]:
    """The fields that training and scoring must agree on, as plain values."""
    return {
        "base": base_digest(model),
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "prompt": value_digest([asdict(prompt), encoder.renderer.head, encoder.renderer.tail]),
        "processor": type(base.processor).__name__,
        "image_processor": type(base.processor.image_processor).__name__,
        "letter_tokens": encoder.letter_ids,
    }


def package_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {name: version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}


def decisive_versions() -> dict[str, str]:
    """Versions of the packages whose releases change results; they belong to what a kept result depends on."""
    return {name: version(name) for name in DECISIVE_PACKAGES}


def check_parity(adapter: Path, base: "Base", encoder: "RowEncoder", model: ModelConfig, prompt: PromptConfig) -> None:
    """Compare the run.json of the folder `adapter` with what scoring is about to use.

    Raises UserError that names the first field that differs. Another version of a package that only rounds differently,
    or another precision, is logged as a warning.
    """
    run = read_run(adapter)
    ours = parity(base, encoder, model, prompt)
    for field, cure in CURES.items():
        if run["parity"].get(field) != ours[field]:
            _refuse(adapter, field, run["parity"].get(field), ours[field], cure)
    precision = {"dtype": str(base.dtype).removeprefix("torch."), "quantization": base.quantization}
    for field in PRECISION:
        if run.get(field, precision[field]) != precision[field]:
            log.warning("%s: trained with %s %s, scored with %s", adapter, field, run[field], precision[field])
    _check_versions(adapter, run["versions"], package_versions())


def read_run(adapter: Path) -> dict[str, Any]:
    """The run.json of an adapter's folder; raises UserError if it is missing or does not say what is needed."""
    file = adapter / RUN
    again = "Train the adapter again (rule train_adapter)"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: missing, so nobody can tell what the adapter was trained on. {again}.") from None
    except ValueError as error:
        raise UserError(f"{file}: damaged ({error}). {again}.") from error
    if not isinstance(run, dict) or not all(isinstance(run.get(key), dict) for key in ("parity", "versions")):
        raise UserError(f"{file}: it lacks `parity` or `versions`. {again}.")
    return run


def _check_versions(adapter: Path, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse another minor release of a decisive package; warn of any other difference."""
    for name, mine in ours.items():
        trained = theirs.get(name)
        if name in DECISIVE_PACKAGES and _minor(trained) != _minor(mine):
            release = f"{name}=={_minor(trained)}.*" if trained else name
            _refuse(adapter, f"versions.{name}", trained, mine, f"Install {release}")
        elif trained != mine:
            log.warning("%s: trained with %s %s, scored with %s", adapter, name, trained, mine)


def _minor(release: str | None) -> str | None:
    """Major and minor number of a version; of 0.0.x the last one too, since that is the one that counts."""
    if release is None:
        return None
    parts = release.split(".")
    return ".".join(parts[: 3 if parts[:2] == ["0", "0"] else 2])


def _refuse(adapter: Path, field: str, theirs: object, ours: object, cure: str) -> None:
    raise UserError(
        f"{adapter / RUN}: {field}: the adapter was trained with {theirs!r}, scoring would use {ours!r}. {cure}, or "
        "train the adapter again."
    )
