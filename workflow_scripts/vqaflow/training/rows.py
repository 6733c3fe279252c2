"""The rows and parameters that a training starts from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vqaflow.artifacts.columns import TRAINING_FIELDS
from vqaflow.artifacts.reading import damaged, read_table, require_file
from vqaflow.config.sections import replace_keys
from vqaflow.runtime.errors import UserError


def with_best(train: Mapping[str, Any], best: Path | None) -> dict[str, Any]:
    """`train` with the parameters of a search in place. Raises UserError unless `best` has some."""
    return replace_keys(train, read_parameters(best) if best else {})


def read_parameters(best: Path) -> dict[str, Any]:
    """The parameters of the best trial of a search. Raises UserError if the file is missing, damaged or without."""
    require_file(best, "search_hyperparameters")
    try:
        found = yaml.safe_load(best.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(best, "search_hyperparameters", error) from None
    if not isinstance(found, dict) or not isinstance(found.get("parameters"), dict):
        raise damaged(best, "search_hyperparameters", ValueError("it has no parameters"))
    return found["parameters"]


def split_rows(table: Path, folds: Path, fold: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of `fold` (held out) and all others, as records.

    Raises UserError if a file is missing or damaged, or if there is no such fold.
    """
    assigned = read_table(folds, "make_folds", ["id", "fold"])
    rows = read_table(table, "validate_tables").merge(assigned, on="id", validate="1:1")
    if fold not in set(rows["fold"]):
        raise UserError(f"{folds}: there is no fold {fold}. It has folds 0 to {rows['fold'].max()}.")
    held_out = rows["fold"] == fold
    return rows[held_out].to_dict("records"), rows[~held_out].to_dict("records")


def contents(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What of `rows` a training depends on, as texts; of images that is their digest."""
    return [[str(row[key]) for key in TRAINING_FIELDS] for row in rows]
