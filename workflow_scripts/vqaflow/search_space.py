"""What a search varies: `hpo.space`, checked with the key and the cure named, and turned into Optuna's suggestions.

Importing this module must stay cheap, since the configuration is checked on every call of Snakemake.
"""

import difflib
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from vqaflow.config import TrainConfig, leaf_keys

Report = Callable[[int, float], None]  # of a trial: gets step and accuracy, and may raise to end it
KINDS = ("choice", "range", "log_range")
KINDS_AS_WRITTEN = "{choice: [...]}, {range: [lowest, highest]} or {log_range: [lowest, highest]}"
# They change how training is run, watched or drawn by lot, not how well a setting learns.
NOT_SEARCHED = (
    "seed",
    "gradient_checkpointing",
    "compile",
    "cache_vision",
    "validate_every",
    "checkpoint_minutes",
    "max_minutes",
    "trackers",
)


DAG_KEYS = ("enabled", "workers")  # of hpo: they say which jobs there are, not what they do


def search_settings(hpo: Mapping[str, Any]) -> dict[str, Any]:
    """What of `hpo` a worker needs to know."""
    return {key: value for key, value in hpo.items() if key not in DAG_KEYS}


@dataclass(frozen=True)
class Dimension:
    """One key of `train` and the values that it may take."""

    key: str
    kind: str
    values: tuple[Any, ...]
    integer: bool

    def suggest(self, trial: Any) -> Any:
        """Draw a value by an `optuna.Trial`."""
        if self.kind == "choice":
            return self.decoded(trial.suggest_categorical(self.key, [encoded(value) for value in self.values]))
        suggest = trial.suggest_int if self.integer else trial.suggest_float
        return suggest(self.key, *self.values, log=self.kind == "log_range")

    def decoded(self, stored: Any) -> Any:
        """The value that Optuna stores as `stored`."""
        return next(value for value in self.values if encoded(value) == stored)

    def holds(self, value: Any) -> bool:
        """Whether `value` is one that could be drawn."""
        return value in self.values if self.kind == "choice" else self.values[0] <= value <= self.values[1]


def encoded(value: Any) -> Any:
    """`value` as Optuna can store it: lists (of `lora.targets`) as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def read_space(space: Mapping[str, Mapping[str, list[Any]]]) -> list[Dimension]:
    """The dimensions of a space without problems, by key, so that their order in a file does not matter."""
    dimensions = []
    for key, entry in sorted(without_nulls(space).items()):
        ((kind, values),) = entry.items()
        integer = is_integer(key)
        if kind != "choice":
            values = [int(value) if integer else float(value) for value in values]
        dimensions.append(Dimension(key, kind, tuple(values), integer))
    return dimensions


def without_nulls(space: Mapping[str, Any]) -> dict[str, Any]:
    """The space without entries and kinds that are null: a user's file can only add to config.yaml's mappings."""
    kept = {key: entry for key, entry in space.items() if entry is not None}
    return {
        key: {kind: values for kind, values in entry.items() if values is not None}
        if isinstance(entry, Mapping)
        else entry
        for key, entry in kept.items()
    }


def is_integer(key: str) -> bool:
    """Whether a dotted key of `train` takes whole numbers only."""
    kind: Any = TrainConfig
    for part in key.split("."):
        kind = typing.get_type_hints(kind)[part]
    return kind is int


def starting_point(dimensions: list[Dimension], train: Mapping[str, Any]) -> dict[str, Any] | None:
    """`train`'s own values, stored as Optuna does, if the space holds all of them; else None."""
    if outside(dimensions, train):
        return None
    return {dimension.key: encoded(value_at(train, dimension.key)) for dimension in dimensions}


def outside(dimensions: list[Dimension], train: Mapping[str, Any]) -> list[str]:
    """The keys whose value in `train` could not be drawn."""
    return [dimension.key for dimension in dimensions if not dimension.holds(value_at(train, dimension.key))]


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        values = values[part]
    return values


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
            yield f"{where}: it is a section of train. Name a key of it: {inside}."
        elif key not in known:
            yield f"{where}: train has no such key; {_nearest_key(key, known)}"
        elif key in NOT_SEARCHED:
            yield f"{where}: it does not tell how well a setting learns. Remove it here, and set train.{key} instead."
        elif isinstance(entry, Mapping) and len(entry) > 1:
            kinds = " and ".join(entry)
            yield f"{where}: it has {kinds} at once (a file of yours adds to config.yaml). Set all but one to null."
        elif not isinstance(entry, Mapping) or not entry:
            yield f"{where}: {entry!r} is no set of values. Write one of {KINDS_AS_WRITTEN}."
        else:
            ((kind, values),) = entry.items()
            yield from _entry_problems(where, key, kind, values, _schema_at(train_schema, key))


def _nearest_key(key: str, known: list[str]) -> str:
    same_end = [name for name in known if name.split(".")[-1] == key.split(".")[-1]]
    close = same_end or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def _schema_at(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    for part in key.split("."):
        schema = schema["properties"][part]
    return schema


def _entry_problems(where: str, key: str, kind: str, values: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    if kind not in KINDS:
        close = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"write one of {KINDS_AS_WRITTEN}."
        yield f"{where}: the kind {kind!r} is unknown; {hint}"
    elif not isinstance(values, list) or not values:
        yield f"{where}.{kind}: {values!r} is no list of values. {_cure(kind)}"
    else:
        problems = _choice_problems(values) if kind == "choice" else _range_problems(kind, values, is_integer(key))
        found = [f"{where}.{kind}: {problem}" for problem in problems]
        yield from found or _refused_values(f"{where}.{kind}", key, values, schema)


def _cure(kind: str) -> str:
    return "List at least one value." if kind == "choice" else "Give two numbers, the lowest and the highest."


def _choice_problems(values: list[Any]) -> Iterator[str]:
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    if twice:
        yield f"{twice[0]!r} stands there twice. Name each value once."


def _range_problems(kind: str, values: list[Any], integer: bool) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield f"{value!r} is text to YAML, not a number. Write an exponent with a point and a sign, as in 1.0e-5."
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{value!r} is no number. {_cure(kind)}"
        elif not math.isfinite(value):
            yield f"{value!r} is not finite. {_cure(kind)}"
        elif integer and value != int(value):
            yield f"{value!r} is no whole number, which this key needs. Round it."
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
            yield f"{where}: train.{key} cannot be {value!r} ({error.message}). Remove or change this value."


def foldless(hpo: Mapping[str, Any], count: int) -> Iterator[str]:
    """Folds of `hpo.folds` that a split into `count` folds lacks."""
    for fold in hpo["folds"]:
        if fold >= count:
            yield f"hpo.folds: there is no fold {fold}. folds.n is {count}: name folds from 0 to {count - 1}."
