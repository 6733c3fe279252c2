"""What a search space may contain, as far as the search itself needs to know."""

import typing
from collections.abc import Mapping
from typing import Any

from vqaflow.config.sections import TrainConfig

# They change how training runs, is watched, draws at random or what it is shown, not how well a setting learns.
NOT_SEARCHED = (
    "seed",
    "gradient_checkpointing",
    "compile",
    "cache_vision",
    "validate_every",
    "checkpoint_minutes",
    "max_minutes",
    "trackers",
    "view",
    "devices",
    "teacher",
)


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
