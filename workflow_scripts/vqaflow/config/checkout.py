"""A run in another folder than the workflow's, or a module of another workflow: what it takes from the checkout.

The checkout is the workflow's own folder.

Importing this module must stay cheap, since it is used on every call of Snakemake.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.loading import REPOSITORY, load_config
from vqaflow.config.sections import merged
from vqaflow.runtime.errors import UserError

OWN_FOLDERS = ("assets", "profiles")  # whose files settings name by paths from the checkout


def require_one_checkout(checkout: Path) -> None:
    """Raise UserError if the package in use is that of another checkout, as with modules of two versions."""
    if not REPOSITORY.samefile(checkout):
        raise UserError(
            f"{checkout}: the same run also uses the workflow in {REPOSITORY}, and one process has one version of its "
            "package. Name one place and one tag in all module statements."
        )


def completed(config: Mapping[str, Any], checkout: Path, lacking: bool = False) -> dict[str, Any]:
    """The settings with paths of the checkout's own files. A path to something in the working folder stays as it is.

    Those of a module may be `lacking` keys, which then come from the checkout's config.yaml and from the file that
    hardware.settings names.
    """
    shipped = load_config(checkout / "config.yaml")
    if lacking:
        hardware = _found(config.get("hardware"), "settings", checkout)
        settings = hardware.get("settings") if isinstance(hardware, Mapping) else None
        shipped = load_config(checkout / "config.yaml", *([settings] if isinstance(settings, str) else []))
    config = dict(config) if shipped.keys() <= config.keys() and not lacking else merged(shipped, config)
    for holder, key in (("model", "base"), ("hardware", "settings")):
        config[holder] = _found(config[holder], key, checkout)
    members = config["members"]
    if isinstance(members, Mapping):
        config["members"] = {name: _member(member, checkout) for name, member in members.items()}
    return config


def relocated(config: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """Checked settings with `place` of each path that may lie in the results folder, which a module may move."""
    data, hardware = dict(config["data"]), dict(config["hardware"])
    for key in ("train_csv", "test_csv", "sample_submission", "image_root", "test_image_root"):
        data[key] = place(data[key]) if data[key] else data[key]
    data["more_train"] = [
        {**entry, **{key: place(entry[key]) for key in ("csv", "image_root") if key in entry}}
        for entry in data["more_train"]
    ]
    hardware["store"] = place(hardware["store"])
    members = {name: _relocated_files(member, place) for name, member in config["members"].items()}
    return {**config, "data": data, "hardware": hardware, "members": members}


def _relocated_files(member: Any, place: Callable[[str], str]) -> Any:
    files = (member or {}).get("probabilities")
    return {**member, "probabilities": {key: place(path) for key, path in files.items()}} if files else member


def _member(member: Any, checkout: Path) -> Any:
    if not isinstance(member, Mapping) or "model" not in member:
        return member
    return {**member, "model": _found(member["model"], "base", checkout)}


def _found(section: Any, key: str, checkout: Path) -> Any:
    """A section whose `key` is the path of a file of the checkout, if only that has it."""
    path = section.get(key) if isinstance(section, Mapping) else None
    if not isinstance(path, str) or Path(path).parts[:1] not in [(name,) for name in OWN_FOLDERS]:
        return section
    return {**section, key: str(checkout / path)} if not Path(path).exists() and (checkout / path).exists() else section
