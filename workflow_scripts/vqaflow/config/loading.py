"""Reading config.yaml and the user's files that override it, and checking the result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.check import check_config
from vqaflow.config.sections import merged
from vqaflow.config.yaml_files import read_keys

REPOSITORY = Path(__file__).parents[3]


def shipped(name: str) -> Path:
    """The workflow's own file `name`: in the repository, or, in a wheel, the copy beside this module."""
    packed = Path(__file__).with_name(Path(name).name)
    return packed if packed.is_file() else REPOSITORY / name


def load_config(*paths: Path | str) -> dict[str, Any]:
    """Read YAML files, later ones overriding earlier ones key by key (as Snakemake's --configfile does).

    Raises UserError if a file is missing or does not contain keys in YAML.
    """
    config: dict[str, Any] = {}
    for path in paths:
        config = merged(config, read_keys(Path(path)))
    return config


def checked_config(*paths: Path | str) -> dict[str, Any]:
    """The configuration of a stage that is run by hand: the repository's config.yaml overridden by `paths`, checked.

    It is what Snakemake makes of `paths` as --configfile; they also override a file that hardware.settings names.
    Without `paths`, a config.yaml in the working directory overrides the repository's. Raises UserError that lists all
    problems.
    """
    own = Path("config.yaml")
    base = [shipped("config.yaml"), *([own] if not paths and own.is_file() else [])]
    config = load_config(*base, *paths)
    hardware = config.get("hardware")
    if isinstance(hardware, Mapping) and isinstance(settings := hardware.get("settings"), str):
        config = load_config(*base, settings, *paths)
    check_config(config, shipped("schemas/config.schema.yaml"))
    return config


def in_order(value: Any) -> Any:
    """A section with its keys, and those of inner sections, sorted; lists stay as they are."""
    if isinstance(value, Mapping):
        return {key: in_order(value[key]) for key in sorted(value, key=str)}
    return [in_order(item) for item in value] if isinstance(value, list) else value
