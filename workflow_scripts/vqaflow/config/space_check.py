"""The check of `hpo.space`: every problem with its key and its cure.

Importing this module must stay cheap, since the configuration is checked on every call of Snakemake.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from vqaflow.config.schema_wording import refusal
from vqaflow.config.sections import leaf_keys
from vqaflow.config.space import NOT_SEARCHED, is_integer, without_nulls
from vqaflow.runtime.messages import did_you_mean, nearest

KINDS = ("choice", "range", "log_range")
KINDS_AS_WRITTEN = "{choice: [...]}, {range: [lowest, highest]} or {log_range: [lowest, highest]}"


def space_problems(
    space: Mapping[str, Any], train: Mapping[str, Any], train_schema: Mapping[str, Any]
) -> Iterator[str]:
    """Every problem of `hpo.space`, worded as `KEY: WHAT. CURE.`; `train_schema` is the schema of `train`."""
    known = leaf_keys(train)
    space = without_nulls(space)
    if not space:
        yield "hpo.space: nothing is left to search. Name a key of train, or set hpo.enabled to false."
    for key, entry in space.items():
        where = f"hpo.space.{key}"
        if key in train and isinstance(train[key], Mapping):
            inside = ", ".join(name for name in known if name.startswith(f"{key}."))
            yield f"{where}: it is a section of train. Name one of its keys: {inside}."
        elif key not in known:
            yield f"{where}: train has no such key; {_nearest_key(key, known)}"
        elif key in NOT_SEARCHED:
            yield f"{where}: it does not change how well a setting learns. Remove it here, and set train.{key} instead."
        elif isinstance(entry, Mapping) and len(entry) > 1:
            kinds = " and ".join(entry)
            yield f"{where}: it has {kinds} at once (your file adds to config.yaml). Set all but one to null."
        elif not isinstance(entry, Mapping) or not entry:
            yield f"{where}: {entry!r} is not a set of values. Write one of {KINDS_AS_WRITTEN}."
        else:
            ((kind, values),) = entry.items()
            yield from _entry_problems(where, key, kind, values, _schema_at(train_schema, key))


def _nearest_key(key: str, known: list[str]) -> str:
    same_end = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    return f"did you mean {same_end[0]!r}?" if same_end else did_you_mean(key, known)


def _schema_at(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    for part in key.split("."):
        schema = schema["properties"][part]
    return schema


def _entry_problems(where: str, key: str, kind: str, values: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    if kind not in KINDS:
        close = nearest(kind, KINDS)
        hint = f"did you mean {close!r}?" if close else f"write one of {KINDS_AS_WRITTEN}."
        yield f"{where}: the kind {kind!r} is unknown; {hint}"
    elif not isinstance(values, list) or not values:
        yield f"{where}.{kind}: {values!r} is not a list of values. {_cure(kind)}"
    else:
        problems = _choice_problems(values) if kind == "choice" else _range_problems(kind, values, is_integer(key))
        found = [f"{where}.{kind}: {problem}" for problem in problems]
        yield from found or _refused_values(f"{where}.{kind}", key, values, schema)


def _cure(kind: str) -> str:
    return "List at least one value." if kind == "choice" else "Give two numbers, the lowest and the highest."


def _choice_problems(values: list[Any]) -> Iterator[str]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        yield f"{twice[0]!r} is listed twice. Name each value once."


def _range_problems(kind: str, values: list[Any], integer: bool) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield f"{value!r} is text to YAML, not a number. Write an exponent with a point and a sign, as in 1.0e-5."
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{value!r} is not a number. {_cure(kind)}"
        elif not math.isfinite(value):
            yield f"{value!r} is not finite. {_cure(kind)}"
        elif integer and value != int(value):
            yield f"{value!r} is not a whole number, which this key needs. Round it."
    if all(isinstance(value, int | float) for value in values):
        if len(values) != 2:
            yield f"{values!r} has {len(values)} value(s). {_cure(kind)}"
        elif values[0] > values[1]:
            yield f"the lowest value, {values[0]}, is above the highest, {values[1]}. Swap them."
        elif kind == "log_range" and values[0] <= 0:
            yield f"the lowest value, {values[0]}, has no logarithm. Raise it above 0, or use range."


def _refused_values(where: str, key: str, values: list[Any], schema: Mapping[str, Any]) -> Iterator[str]:
    validator = Draft202012Validator(dict(schema))
    for value in values:
        for error in validator.iter_errors(value):
            yield f"{where}: train.{key} does not take {value!r}: {refusal(error)}"


def foldless(hpo: Mapping[str, Any], count: int) -> Iterator[str]:
    """Folds of `hpo.folds` that do not exist among `count` folds."""
    for fold in hpo["folds"]:
        if fold >= count:
            yield f"hpo.folds: there is no fold {fold}. folds.n is {count}: name folds from 0 to {count - 1}."
