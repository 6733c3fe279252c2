"""Writing and reading recipe.json: what the ensemble chose and learned.

Shapes: N rows, C = 4 choices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.score_files import ScoreFile, views_of
from vqaflow.ensemble.pooling import Params
from vqaflow.ensemble.recipes import (
    Fitted,
    Nested,
    Oof,
    Priors,
    Recipe,
)
from vqaflow.reporting.statistics import accuracy_summary, calibration_summary, paired_summary


def recipe_summary(default: Recipe, fitted: Fitted, files: Sequence[ScoreFile], priors: Priors) -> dict[str, Any]:
    """What was chosen, from which scores, and what it learned on all OOF rows."""
    return {
        "default": default.name,
        "chosen": fitted.recipe.name,
        "order_pooling": fitted.recipe.order_pooling,
        "pooling": fitted.recipe.pooling,
        "views": views_of(files),
        "folds": sorted({f.fold for f in files}),
        "learned": plain(fitted.params),
        "position_prior": {f"fold{fold}/{view}": plain(prior) for (fold, view), prior in priors.items()},
    }


def nested_summary(held_out: Nested, default_right: np.ndarray, oof: Oof, seed: int) -> dict[str, Any]:
    """The honest accuracy: that of the whole procedure on the outer folds."""
    right_N = held_out.calibrated_NC.argmax(1) == oof.answers_N
    return accuracy_summary(right_N, oof.groups_N, seed) | {
        "chosen_without_each_part": held_out.chosen,
        "against_default": paired_summary(default_right, right_N, oof.groups_N, seed),
    }


def calibration_report(fitted: Fitted, held_out: Nested, oof: Oof) -> dict[str, Any]:
    """What the calibration learned on all OOF rows, and the calibration of held-out rows before and after it."""
    return {
        "method": fitted.calibration,
        "learned": fitted.calibration_params,
        "before": calibration_summary(held_out.pooled_NC, oof.answers_N),
        "after": calibration_summary(held_out.calibrated_NC, oof.answers_N),
    }


def test_summary(table: pl.DataFrame) -> dict[str, Any]:
    """The number of test rows, and which of them got equal probabilities."""
    unusable = table["id"].filter(~table["usable"]).to_list()
    return {"rows": len(table), "unusable": len(unusable), "unusable_ids": unusable}


def plain(params: Any) -> Any:
    """Arrays as lists, for JSON."""
    if isinstance(params, dict):
        return {key: plain(value) for key, value in params.items()}
    return params.tolist() if isinstance(params, np.ndarray) else params


def learned(report: Mapping[str, Any]) -> Params:
    """What the chosen pool learned, read from recipe.json."""
    params = report["learned"]
    if isinstance(params, dict):
        return {key: np.array(value) for key, value in params.items()}
    return None if params is None else np.array(params)


def priors_of(report: Mapping[str, Any]) -> Priors:
    """Each file's position prior, read from recipe.json."""
    found: Priors = {}
    for place, prior in report["position_prior"].items():
        fold, view = place.removeprefix("fold").split("/", 1)
        found[int(fold), view] = None if prior is None else np.array(prior)
    return found
