"""Writing and reading recipe.json: what the ensemble chose and learned, and computing the test rows again from it.

Shapes: N rows, S sources, U units of stacking (pooling.py), C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import norm

from vqaflow.artifacts.choices import OWN
from vqaflow.config.recipe_names import Recipe
from vqaflow.ensemble.calibration import apply_temperature
from vqaflow.ensemble.noise import paired_summaries
from vqaflow.ensemble.pooling import Params, default_weights
from vqaflow.ensemble.recipes import Choice, CrossFit, Fitted, Nested, kept_sources, renumbered
from vqaflow.ensemble.sharpening import Sharpening
from vqaflow.ensemble.sources import Member, Source, read_members
from vqaflow.ensemble.test_rows import PooledTest, pool_test
from vqaflow.reporting.measures import value
from vqaflow.reporting.statistics import (
    CONFIDENCE,
    accuracy_summary,
    calibration_summary,
    log_losses,
    paired_summary,
    widest,
)

LEAST_SHARE = 0.1  # of the sizes of stacking's slopes that their sum must have to be divided into weights
ONE_ADAPTER = "the pool with one adapter of each tuned member per row, on training rows that it has not seen"

# What its readers need.
RECIPE_KEYS = ["chosen", "pooling", "without", "without_view", "only", "learned", "members", "nested.right"]
RECIPE_KEYS += ["calibration.method", "calibration.learned", "test.temperature"]


def recipe_summary(default: Recipe, fitted: Fitted, members: Sequence[Member]) -> dict[str, Any]:
    """What was chosen, of which members, and what it learned on all OOF rows."""
    sources = [Source(member.name, view) for member in members for view in member.views]
    weight_S = source_weights(fitted, sources)
    recipe = fitted.recipe
    return {
        "default": default.name,
        "chosen": recipe.name,
        "pooling": recipe.pooling,
        "without": recipe.without,
        "without_view": recipe.view,
        "only": recipe.only,
        "learned": plain(fitted.params),
        "members": [_member_entry(member, sources, weight_S) for member in members],
        "views": list(dict.fromkeys(source.view for source in sources)),
        "folds": sorted({int(fold) for member in members for fold in member.folds}),
    }


def _member_entry(member: Member, sources: Sequence[Source], weight_S: np.ndarray) -> dict[str, Any]:
    """A member with its weight in the chosen pool, and that of each view."""
    views = {
        source.view: float(weight)
        for source, weight in zip(sources, weight_S, strict=True)
        if source.member == member.name
    }
    notes = ["refit: it has no OOF rows of its own; it has the weight of its folds"] if member.refit else []
    entry = {"name": member.name, "kind": member.kind, "parts": list(member.parts), "refit": member.refit}
    return entry | {"weight": sum(views.values()), "views": views, "notes": notes}


def source_weights(fitted: Fitted, sources: Sequence[Source]) -> np.ndarray:
    """The weight (S) of each source where all are present; they sum to 1, and what is left out has 0.

    For stacking, it is the mean coefficient of a unit's log-probability of a choice for that choice, less the mean for
    the other choices. A view has its member's share of it.
    """
    kept = kept_sources(fitted.recipe, sources)
    names = [sources[number].member for number in kept]
    member_S = renumbered(np.array([names.index(name) for name in names]))
    weight_S = default_weights(member_S)
    if fitted.recipe.pooling == "weighted":
        weight_S = np.asarray(fitted.params)
    elif fitted.recipe.pooling == "vote":
        weight_S = weight_S * fitted.params
    elif fitted.recipe.pooling == "stacking":
        choices = len(fitted.params["bias"])
        blocks_UCC = np.reshape(fitted.params["matrix"], (-1, choices, choices))
        same_U = np.einsum("ucc->u", blocks_UCC) / choices
        slope_U = same_U - (blocks_UCC.sum((1, 2)) / choices - same_U) / (choices - 1)
        several = len(slope_U) == member_S[-1] + 1 and member_S[-1] > 0
        weight_S = slope_U[member_S] / np.bincount(member_S)[member_S] if several else slope_U
    every_S = np.zeros(len(sources))
    total = weight_S.sum()
    clear = total > LEAST_SHARE * np.abs(weight_S).sum()  # else the signs of stacking's slopes cancel
    every_S[kept] = weight_S / total if clear else weight_S
    return every_S


def candidate_table(choice: Choice, cross: CrossFit) -> list[dict[str, Any]]:
    """Each candidate's cross-fitted accuracy, metric and loss, with its paired test against the default."""
    default, *others = choice.scored
    hits = [choice.scored[recipe].hits_over(choice.scored[default]) for recipe in others]
    against = dict(zip(others, paired_summaries(hits, cross.blocks_N, cross.seed), strict=True))
    first = choice.scored[default]
    tested = "p_right" if first.metric == "accuracy" else f"p_{first.metric}", f"p_{first.loss}"
    return [
        {"name": recipe.name}
        | accuracy_summary(scored.right_N)
        | ({} if scored.metric == "accuracy" else {scored.metric: abs(scored.value)})
        | {scored.loss: float(scored.loss_N.mean())}
        | {
            "against_default": None
            if recipe == default
            else against[recipe] | dict(zip(tested, choice.p_values[recipe].tolist(), strict=True))
        }
        for recipe, scored in choice.scored.items()
    ]


def nested_summary(held_out: Nested, choice: Choice, cross: CrossFit) -> dict[str, Any]:
    """The honest accuracy: that of the whole procedure on the outer parts, against the default and the best member."""
    right_N = held_out.calibrated_NC.argmax(1) == cross.oof.answers_N
    default, *_ = choice.scored
    single = [recipe for recipe in choice.scored if recipe.only is not None]
    best = max(single, key=lambda recipe: choice.scored[recipe].value, default=None)
    return accuracy_summary(right_N, cross.blocks_N, cross.seed) | {
        "of": ONE_ADAPTER,
        "chosen_without_each_part": held_out.chosen,
        **({} if cross.metric == "accuracy" else {cross.metric: _metric_of(held_out, cross)}),
        "against_default": paired_summary(choice.scored[default].right_N, right_N, cross.blocks_N, cross.seed),
        "against_best_member": None
        if best is None
        else {"member": best.only} | paired_summary(choice.scored[best].right_N, right_N, cross.blocks_N, cross.seed),
    }


def _metric_of(held_out: Nested, cross: CrossFit) -> float:
    """`ensemble.metric` of the held-out predictions."""
    p_NC, oof = held_out.calibrated_NC, cross.oof
    losses_N = log_losses(p_NC, oof.answers)
    return abs(value(cross.metric, oof.answers_N, p_NC.argmax(1), losses_N, p_NC.shape[1]))


def calibration_report(fitted: Fitted, held_out: Nested, answers: np.ndarray) -> dict[str, Any]:
    """What the calibration learned on all OOF rows, and the calibration of held-out rows before and after it."""
    return {
        "method": fitted.calibration,
        "learned": fitted.calibration_params,
        "before": calibration_summary(held_out.pooled_NC, answers),
        "after": calibration_summary(held_out.calibrated_NC, answers),
    }


def test_summary(table: pl.DataFrame, held_out: Nested, found: Sharpening | None) -> dict[str, Any]:
    """The test rows, mean confidences of OOF and test, and the temperature that sharpens the average."""
    unusable = table["id"].filter(~table["usable"]).to_list()
    confidence = {
        "oof_before_calibration": float(held_out.pooled_NC.max(1).mean()),
        "oof": float(held_out.calibrated_NC.max(1).mean()),
    }
    if found is not None:
        confidence |= {"test_single_folds": found.singles, "test_average": found.before, "test": found.after}
    return {
        "rows": len(table),
        "unusable": len(unusable),
        "unusable_ids": unusable,
        "confidence": confidence,
        "temperature": None if found is None else found.temperature,
        "gain_of_averaging": None if found is None else {"gain": found.gain, "standard_error": found.gain_error},
    }


def expected_summary(nested: Mapping[str, Any], found: Sharpening | None, usable: int) -> dict[str, Any]:
    """The accuracy to expect on test rows like the training rows: OOF accuracy plus the gain of averaging.

    `interval` is of the accuracy on very many such rows: it joins the half widths of the OOF accuracy's interval and of
    the gain's (root of the sum of squares). `score_interval` is a prediction interval, of the accuracy on `usable` of
    them: with h the half width on n OOF rows, theirs is h · sqrt(1 + n / usable) (Hahn and Meeker, Statistical
    Intervals, 1991, section 4.7, prediction of the mean of further observations). h counts how alike the rows of a
    group are; so the test rows are taken to come in groups like those of the training rows.
    """
    low, high = widest(nested)
    gain, error = (found.gain, found.gain_error) if found is not None else (0.0, 0.0)
    center = min(1.0, nested["accuracy"] + gain)
    of_gain = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    below, above = nested["accuracy"] - low, high - nested["accuracy"]

    def interval(wider: float) -> tuple[float, float]:
        return (
            max(0.0, center - float(np.hypot(wider * below, of_gain))),
            min(1.0, center + float(np.hypot(wider * above, of_gain))),
        )

    what = "with the adapters of all folds averaged" if found is not None else "as on the training rows"
    return {
        "accuracy": center,
        "interval": interval(1.0),
        "score_interval": interval(float(np.sqrt(1 + nested["n"] / usable))) if usable else (0.0, 1.0),
        "of": f"the pool {what}, on rows like the training rows; score_interval: on {usable} such rows",
    }


def plain(params: Any) -> Any:
    """Arrays as lists, for JSON."""
    if isinstance(params, dict):
        return {key: plain(value) for key, value in params.items()}
    return params.tolist() if isinstance(params, np.ndarray) else params


def fitted_of(report: Mapping[str, Any]) -> Fitted:
    """The chosen pool and calibration, read from recipe.json."""
    recipe = Recipe(report["pooling"], report["without"], report["without_view"], report["only"])
    params: Params = report["learned"]
    if isinstance(params, dict):
        params = {key: np.array(value) for key, value in params.items()}
    elif params is not None:
        params = np.array(params)
    return Fitted(recipe, params, report["calibration"]["method"], report["calibration"]["learned"])


@dataclass(frozen=True)
class Recomputed:
    """Test probabilities (N, C) of all rows in the table's order, and what each fold alone gives."""

    ids: list[str]
    probabilities_NC: np.ndarray
    pooled: PooledTest


def recompute_test(report: Mapping[str, Any], members: Sequence[Path], table: pl.DataFrame) -> Recomputed:
    """Compute test.parquet again from the members' folders (in recipe.json's order) as recipe.json says.

    `table` has id and own letters. What was learned and fitted is taken from the report: nothing is chosen again.
    """
    pooled = pool_test(read_members(members), table.select("id", OWN), fitted_of(report))
    temperature = report["test"]["temperature"]
    sharp_NC = pooled.average_NC
    if temperature is not None:
        sharp_NC = apply_temperature(sharp_NC, {"temperature": temperature})
    return Recomputed(table["id"].to_list(), sharp_NC, pooled)
