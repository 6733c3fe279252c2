"""A run in another folder than the workflow's: what it takes from the workflow's own folder, the checkout.

Importing this module must stay cheap, since it is used on every call of Snakemake.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.loading import load_config
from vqaflow.config.sections import merged

OWN_FOLDERS = ("assets", "profiles")  # whose files settings name by paths from the checkout


def completed(config: Mapping[str, Any], checkout: Path) -> dict[str, Any]:
    """The settings with the sections that they lack, as a module's, and with paths of the checkout's own files.

    A path that leads to something in the working folder stays as it is.
    """
    shipped = load_config(checkout / "config.yaml")
    config = dict(config) if shipped.keys() <= config.keys() else merged(shipped, config)
    for holder, key in (("model", "base"), ("hardware", "settings")):
        config[holder] = _found(config[holder], key, checkout)
    members = config["members"]
    if isinstance(members, Mapping):
        config["members"] = {name: _member(member, checkout) for name, member in members.items()}
    return config


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
