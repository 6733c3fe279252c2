"""The configuration is checked whole before anything runs: every problem at once, each with the key and the cure."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from vqaflow.errors import UserError

WHEN = re.compile(r"margin\s*<\s*(\d*\.?\d+)")


def load_schema(path: Path | str) -> dict[str, Any]:
    """Read the schema of config.yaml."""
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def check_config(config: Mapping[str, Any], schema: Path | str) -> None:
    """Raise one UserError that lists all problems of `config`: unknown keys (with the nearest known), types, ranges."""
    config = json.loads(json.dumps(config))  # Snakemake hands over ordered dicts
    problems = [_wording(error) for error in Draft202012Validator(load_schema(schema)).iter_errors(config)]
    if not problems:
        problems = list(_cross_checks(config))
    if problems:
        raise UserError("config: " + "\n        ".join(sorted(problems)))


def _wording(error: Any) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))
        return "; ".join(f"{_join(where, key)}: unknown key; {_nearest(key, known)}" for key in unknown)
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{where or 'top level'}: key {missing[0]!r} is missing. Add it."
    if error.validator == "enum":
        allowed = ", ".join(str(value) for value in error.validator_value)
        return f"{where}: {error.instance!r} is unknown; {_nearest(str(error.instance), allowed.split(', '))}"
    about = error.schema.get("description", "")
    return f"{where}: {error.message}. {('It is ' + about) if about else ''}".rstrip()


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _cross_checks(config: Mapping[str, Any]) -> Iterator[str]:
    """What no schema of single keys can say."""
    model, views = config["model"], config["views"]
    if model["min_pixels"] > model["max_pixels"]:
        yield f"model.min_pixels: {model['min_pixels']} is above model.max_pixels, {model['max_pixels']}. Lower it."
    for kind, template in config["prompt"]["templates"].items():
        if template.count("{question}") != 1 or template.count("\n{choices}") != 1 or template.count("{choices}") != 1:
            yield (
                f"prompt.templates.{kind}: needs {{question}} once and, at the start of a line, {{choices}} once, "
                "since all choice orders share what stands before the choices."
            )
        elif template.index("{question}") > template.index("{choices}"):
            yield f"prompt.templates.{kind}: {{question}} must stand before {{choices}}. Swap them."
    if "original" not in views or views["original"].get("enabled") is False:
        yield "views.original: the unchanged view is the one that others build on. Keep it enabled."
    elif set(views["original"]) - {"enabled"}:
        yield "views.original: it is the unchanged image. Give other settings to a view of another name."
    for name, view in views.items():
        if view.get("when") is not None and not WHEN.fullmatch(view["when"]):
            yield f"views.{name}.when: {view['when']!r} is no condition. Write, for example, margin < 0.3."
        smallest = view.get("min_pixels") or model["min_pixels"]
        largest = view.get("max_pixels") or model["max_pixels"]
        if smallest > largest:
            yield f"views.{name}: min_pixels {smallest} is above max_pixels {largest}. Raise max_pixels."
