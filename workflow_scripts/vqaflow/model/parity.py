"""What training and scoring must agree on: written beside the adapter by training, compared before scoring."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqaflow.artifacts.adapter_files import RUN, read_run
from vqaflow.config.sections import ModelConfig, PromptConfig
from vqaflow.model.base_digest import base_digest
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log
from vqaflow.runtime.versions import DECISIVE_PACKAGES, package_versions

if TYPE_CHECKING:  # importing torch takes seconds, and comparing versions does not need it
    from vqaflow.model.base import Base
    from vqaflow.model.encoding.row_encoder import RowEncoder

COMPARED = ("base", "min_pixels", "max_pixels", "prompt", "processor", "image_processor", "letter_tokens")
CURES = {
    "base": "Set model.base and model.revision to the base that the adapter was trained on",
    "min_pixels": "Set model.min_pixels to the adapter's value",
    "max_pixels": "Set model.max_pixels to the adapter's value",
    "prompt": "Restore the section prompt, or the base's chat template, that the adapter was trained with",
    "processor": "Use the processor files of the base that the adapter was trained on",
    "image_processor": "Use the processor files of the base that the adapter was trained on",
    "letter_tokens": "Use the tokenizer files of the base that the adapter was trained on",
}
PRECISION = ("dtype", "quantization")


def parity(base: "Base", encoder: "RowEncoder", model: ModelConfig, prompt: PromptConfig) -> dict[str, Any]:
    """The fields of which training and scoring must have the same values.

    `commit` is that of a base from the hub, where a branch such as main moves; a folder has none.
    """
    commit = getattr(base.network.config, "_commit_hash", None)
    return {
        "base": base_digest(model),
        "min_pixels": model.min_pixels,
        "max_pixels": model.max_pixels,
        "prompt": value_digest([prompt.content(False), encoder.renderer.head, encoder.renderer.tail]),
        "processor": type(base.processor).__name__,
        "image_processor": type(base.processor.image_processor).__name__,
        "letter_tokens": encoder.letter_ids,
        **({"commit": commit} if commit else {}),
    }


def check_parity(adapter: Path, base: "Base", encoder: "RowEncoder", model: ModelConfig, prompt: PromptConfig) -> None:
    """Compare the run.json of the folder `adapter` with what scoring is about to use.

    Raises UserError that names the first field that differs. Another precision, or another version of a package that
    only changes rounding, is logged as a warning.
    """
    run = read_run(adapter)
    ours = parity(base, encoder, model, prompt)
    for field in COMPARED:
        if run["parity"].get(field) != ours[field]:
            raise refusal(adapter, field, run["parity"].get(field), ours[field], CURES[field])
    trained, now = run["parity"].get("commit"), ours.get("commit")
    if trained and now and trained != now:
        raise refusal(adapter, "commit", trained, now, f"Set model.revision to {trained}")
    precision = {"dtype": str(base.dtype).removeprefix("torch."), "quantization": base.quantization}
    for field in PRECISION:
        if run.get(field, precision[field]) != precision[field]:
            log.warning("%s: trained with %s %s, scored with %s", adapter, field, run[field], precision[field])
    _check_versions(adapter, run["versions"], package_versions())


def _check_versions(adapter: Path, theirs: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """Refuse another minor release of a decisive package; warn about any other difference."""
    for name, mine in ours.items():
        trained = theirs.get(name)
        if name in DECISIVE_PACKAGES and _minor(trained) != _minor(mine):
            release = f"{name}=={_minor(trained)}.*" if trained else name
            raise refusal(adapter, f"versions.{name}", trained, mine, f"Install {release}")
        elif trained != mine:
            log.warning("%s: trained with %s %s, scored with %s", adapter, name, trained, mine)


def _minor(release: str | None) -> str | None:
    """Major and minor number of a version; for 0.0.x also the last number, the only one that changes."""
    if release is None:
        return None
    parts = release.split(".")
    return ".".join(parts[: 3 if parts[:2] == ["0", "0"] else 2])


def refusal(adapter: Path, field: str, theirs: object, ours: object, cure: str) -> UserError:
    """The error for an adapter that was trained with another value of `field` than scoring would use."""
    return UserError(
        f"{adapter / RUN}: {field}: the adapter was trained with {theirs!r}, scoring would use {ours!r}. {cure}, or "
        "train the adapter again."
    )
