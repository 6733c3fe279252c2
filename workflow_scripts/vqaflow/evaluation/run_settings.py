"""The settings that made a results folder, as its own files record them.

They come from run.json of each member's first adapter, member.json, recipe.json and folds.report.json. Folders of
version 0.1 have one member, whose adapters are directly in adapters/.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.adapter_files import RUN
from vqaflow.artifacts.parts import BASE, trained_part
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import TUNED

ONLY = "main"  # the member of a run that has no others
TRAINED = ("model", "prompt", "train", "answers_use", "agreement_weight")  # keys of run.json
MEMBER = ("kind", "views", "parts", "seeds", "refit", "order_pooling")  # keys of member.json
ASKED = ("model", "prompt", "orders", "shown", "probabilities")  # sections of member.json
RECIPE = ("recipe", "metric", "default", "chosen", "views", "calibration.method")
FOLDS = ("n", "group_by", "seed")


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings by dotted keys; those of a member start with ``members.NAME``."""
    at = ResultsFolder(folder)
    found = {
        f"members.{name}.{key}": value for name in members_of(folder) for key, value in of_member(at, name).items()
    }
    recipe, report = json_of(at.recipe), json_of(at.fold_report)
    return (
        found
        | picked(flat({"ensemble": recipe}), [f"ensemble.{key}" for key in RECIPE])
        | picked(flat({"folds": report}), [f"folds.{key}" for key in FOLDS])
    )


def members_of(folder: Path) -> list[str]:
    """The names of a run's members; a folder of version 0.1 has the member main."""
    return ResultsFolder(folder).members() or [ONLY]


def of_member(at: ResultsFolder, name: str) -> dict[str, Any]:
    """A member's settings by dotted keys."""
    note = json_of(at.member(name).note)
    run = json_of(first_adapter(at, name, note) / RUN)
    asked = {key: note[key] for key in ASKED if key in note}
    return flat(asked | {key: run[key] for key in TRAINED if key in run}) | picked(note, MEMBER)


def first_adapter(at: ResultsFolder, name: str, note: Mapping[str, Any]) -> Path:
    """The folder of a member's adapter of fold 0 and the first seed; adapters of earlier settings may lie beside it."""
    if not note and name == ONLY:  # version 0.1
        return at.folder / "adapters" / "fold0"
    seeds = note.get("seeds") or [None]
    return at.adapter(name, trained_part(0, seeds[0]) if note.get("kind") == TUNED else BASE)


def differing(settings: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The keys whose values differ, with the value of each of the `settings`; a setting that one lacks is None.

    If main is the only member of all, its keys lose their prefix. Of a member that only some have, the kind is enough.
    """
    every = [dict(one) for one in settings]
    names = [members_in(one) for one in every]
    if all(mine == {ONLY} for mine in names):
        every = [{key.removeprefix(f"members.{ONLY}."): value for key, value in one.items()} for one in every]
    shared = set.intersection(*names)
    keys = sorted({key for one in every for key in one if is_shown(key, shared)})
    values = {key: [one.get(key) for one in every] for key in keys}
    return {key: mine for key, mine in values.items() if any(value != mine[0] for value in mine)}


def members_in(settings: Mapping[str, Any]) -> set[str]:
    """The members that settings speak of."""
    return {key.split(".")[1] for key in settings if key.startswith("members.")} or {ONLY}


def is_shown(key: str, shared: set[str]) -> bool:
    """Whether a key can be compared: the details of a member that only some runs have say nothing."""
    parts = key.split(".")
    return parts[0] != "members" or parts[1] in shared or parts[2:] == ["kind"]


def picked(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Those of `values` that have one of `keys`."""
    return {key: values[key] for key in keys if key in values}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings, by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def json_of(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the run has no such file or it is damaged (`vqaflow verify` says what is)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
