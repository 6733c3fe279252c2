"""What a search varies: `hpo.space` turned into Optuna's suggestions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vqaflow.config.space import is_integer, without_nulls

Report = Callable[[int, float], None]  # gets a trial's step and accuracy, and may raise to end the trial


@dataclass(frozen=True)
class Dimension:
    """One key of `train` and the values that it may take."""

    key: str
    kind: str
    values: tuple[Any, ...]
    integer: bool

    def suggest(self, trial: Any) -> Any:
        """Draw a value with an `optuna.Trial`."""
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
    """The dimensions of a checked space, sorted by key: their order in a file does not matter."""
    dimensions = []
    for key, entry in sorted(without_nulls(space).items()):
        ((kind, values),) = entry.items()
        integer = is_integer(key)
        if kind != "choice":
            values = [int(value) if integer else float(value) for value in values]
        dimensions.append(Dimension(key, kind, tuple(values), integer))
    return dimensions


def starting_point(dimensions: list[Dimension], train: Mapping[str, Any]) -> dict[str, Any] | None:
    """`train`'s own values as Optuna stores them, or None if the space does not contain all of them."""
    if outside(dimensions, train):
        return None
    return {dimension.key: encoded(value_at(train, dimension.key)) for dimension in dimensions}


def outside(dimensions: list[Dimension], train: Mapping[str, Any]) -> list[str]:
    """The keys whose value in `train` is not in the space."""
    return [dimension.key for dimension in dimensions if not dimension.holds(value_at(train, dimension.key))]


def value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        values = values[part]
    return values
