"""What a command line of Snakemake does to the configuration without a word: each such case, with its cure.

Importing this module must stay cheap, since it is used on every call of Snakemake.
"""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vqaflow.config.yaml_files import read_keys
from vqaflow.runtime.errors import UserError

IMAGE = "VQAFLOW_IMAGE"  # the environment variable that names the image of all rules


def require_kept(arguments: Sequence[str], config: Mapping[str, Any], made: Path) -> None:
    """Raise UserError if Snakemake's `arguments` lost a file or a profile's settings, or read a target as settings.

    Also if a file of settings has a key twice, of which Snakemake keeps the last one. `made` is the folder of the
    workflow's outputs.
    """
    options = _options(arguments)
    problems = [*_problems(options, config, made)]
    if problems:
        raise UserError("command line: " + "\n        ".join(problems))
    for name in (options.configfile or [[]])[-1]:
        if Path(name).is_file():
            read_keys(Path(name))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options that matter here, as Snakemake reads them; each time that one is given is an entry."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="append", default=[])
    parser.add_argument("--config", "-C", nargs="*", action="append", default=[])
    ways = ("--sdm", "--software-deployment-method", "--deployment-method", "--deployment")
    parser.add_argument(*ways, nargs="+", default=[])
    parser.add_argument("--use-apptainer", "--use-singularity", action="store_true")
    parser.add_argument("--profile", default=os.environ.get("SNAKEMAKE_PROFILE"))
    parser.add_argument("--workflow-profile")
    before_targets = list(arguments)[: list(arguments).index("--")] if "--" in arguments else list(arguments)
    return parser.parse_known_args(before_targets)[0]


def _problems(options: argparse.Namespace, config: Mapping[str, Any], made: Path) -> Iterator[str]:
    *lost, last = options.configfile or [[]]
    if lost:
        files = " ".join(name for names in options.configfile for name in names)
        names = ", ".join(name for given in lost for name in given)
        what = f"--configfile is given twice, and Snakemake reads only the last; {names} is lost"
        yield f"{what}. Write --configfile {files}"
    for name in last:
        if Path(name).is_relative_to(made) and Path(name).suffix not in (".yaml", ".yml"):
            yield f"{name} was read as a file of settings, not as a target. Put -- before the targets: -- {name}"
    wants_image = options.use_apptainer or {"apptainer", "singularity"} & set(options.sdm)
    if wants_image and not os.environ.get(IMAGE):
        what = f"{IMAGE} names no image, so that jobs would run in this machine's own environment"
        yield f"{what}. Set it (docs/cloud.md), leave the option of apptainer out, or write --sdm conda"
    profiles = {name: _profile_settings(name) for name in (options.profile, options.workflow_profile)}
    profile, settings = next(((name, found) for name, found in profiles.items() if found), (None, None))
    if options.config and settings and not (config.get("hardware") or {}).get("settings"):
        yield (
            f"--config replaces the one of the profile {profile}, whose settings are lost. Add them: "
            f'--config "hardware={{settings: {settings}}}" {" ".join(map(repr, options.config[-1]))}, or put your keys '
            "into a file for --configfile."
        )


def _profile_settings(profile: str | None) -> str | None:
    """The file that a profile's `config` names as hardware.settings."""
    file = Path(profile) / "config.yaml" if profile else None
    if file is None or not file.is_file():
        return None
    values = yaml.safe_load(file.read_text("utf-8")) or {}
    entries = values.get("config") or []
    for entry in entries if isinstance(entries, list) else []:
        key, _, text = str(entry).partition("=")
        value = yaml.safe_load(text) if key == "hardware" else None
        if isinstance(value, Mapping) and value.get("settings"):
            return str(value["settings"])
    return None
