"""Choosing on OOF how to pool, without reporting the number that was optimised.

A candidate is a pooling over orders combined with a pooling over views and folds. Candidates are compared by
cross-fitting: a pool is judged on other groups than those it learns from. The simplest candidate is kept over which the
most accurate one has no gain beyond noise (exact McNemar test, corrected for the number of candidates, and paired
bootstrap).

The whole procedure (choice, pool, calibration) runs inside an outer cross-validation. Its held-out probabilities are
the OOF file, and its accuracy is the one that is reported.

Shapes: N rows, V views, C = 4 choices, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqaflow.config.sections import EnsembleConfig
from vqaflow.ensemble.calibration import CALIBRATIONS
from vqaflow.ensemble.pooling import POOLS, Params
from vqaflow.reporting.statistics import CONFIDENCE, accuracy_summary, paired_summary
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import did_you_mean
from vqaflow.scoring.order_pooling import ORDER_POOLINGS

Priors = dict[tuple[int, str], np.ndarray | None]  # by (fold, view)
OUTER_PARTS, INNER_PARTS = 5, 4


@dataclass(frozen=True)
class Recipe:
    """One way to pool; `ensemble.recipe` may be its name."""

    order_pooling: str
    pooling: str

    @property
    def name(self) -> str:
        """`order_pooling+pooling`."""
        return f"{self.order_pooling}+{self.pooling}"


@dataclass(frozen=True)
class Oof:
    """Training rows with their log-probabilities (N, V, C) for each order pooling, answers (0 to 3) and groups."""

    logp: dict[str, np.ndarray]
    answers_N: np.ndarray
    groups_N: np.ndarray


@dataclass(frozen=True)
class Procedure:
    """What is done with some rows: choose among `candidates` (unless there is only one), pool, calibrate.

    The first candidate is the default.
    """

    candidates: tuple[Recipe, ...]
    calibration: str
    seed: int


def parts_of(groups_N: np.ndarray, parts: int, seed: int) -> list[np.ndarray]:
    """Row numbers of up to `parts` parts of nearly equal size; rows of one group are in the same part."""
    unique, group_N = np.unique(groups_N, return_inverse=True)
    sizes_G = np.bincount(group_N)
    shuffled = np.random.default_rng(seed).permutation(len(unique))
    part_G = np.empty(len(unique), int)
    filled = np.zeros(min(parts, len(unique)))
    for group in shuffled[np.argsort(-sizes_G[shuffled], kind="stable")]:
        part_G[group] = filled.argmin()
        filled[part_G[group]] += sizes_G[group]
    return [np.flatnonzero(part_G[group_N] == part) for part in range(len(filled))]


def cross_fit(recipe: Recipe, oof: Oof, rows: np.ndarray, seed: int) -> np.ndarray:
    """Pooled probabilities (len(rows), C), each learned from rows of other groups."""
    pool, logp = POOLS[recipe.pooling], oof.logp[recipe.order_pooling]
    if not pool.learns:
        return pool.apply(logp[rows], None)
    probabilities = np.empty((len(rows), logp.shape[2]))
    for held in parts_of(oof.groups_N[rows], INNER_PARTS, seed):
        others = np.setdiff1d(np.arange(len(rows)), held)
        params = pool.fit(logp[rows[others]], oof.answers_N[rows[others]])
        probabilities[held] = pool.apply(logp[rows[held]], params)
    return probabilities


@dataclass(frozen=True)
class Choice:
    """The chosen recipe, the reason, and each candidate's cross-fitted hits on the rows that decided."""

    recipe: Recipe
    reason: str
    right: dict[Recipe, np.ndarray]
    probabilities: np.ndarray  # of the chosen recipe, cross-fitted


def choose(procedure: Procedure, oof: Oof, rows: np.ndarray) -> Choice:
    """The simplest candidate (the default first) over which the most accurate one has no gain beyond noise."""
    fitted = {recipe: cross_fit(recipe, oof, rows, procedure.seed) for recipe in procedure.candidates}
    right = {recipe: p.argmax(1) == oof.answers_N[rows] for recipe, p in fitted.items()}
    default = procedure.candidates[0]
    best = max(procedure.candidates, key=lambda recipe: int(right[recipe].sum()))  # the first of equal ones
    chosen = default
    for chosen in procedure.candidates:
        gain = paired_summary(right[chosen], right[best], oof.groups_N[rows], procedure.seed)
        p_value = min(1.0, gain["mcnemar_p"] * max(1, len(right) - 1))
        if p_value >= 1 - CONFIDENCE or gain["bootstrap"] is None or gain["bootstrap"][0] <= 0:
            break
    if len(right) == 1:
        reason = "set by ensemble.recipe"
    elif best == default:
        reason = "no candidate is more accurate than the default"
    elif chosen == default:
        points = f"{100 * gain['gain']:.2f} points (p = {p_value:.2g} after {len(right) - 1} comparisons)"
        reason = f"the gain of {best.name}, {points}, is within noise, so the default stays"
    else:
        points = 100 * (right[chosen].mean() - right[default].mean())
        reason = f"gains {points:.2f} points over the default, more than noise, and is the simplest of the best"
    return Choice(chosen, reason, right, fitted[chosen])


@dataclass(frozen=True)
class Fitted:
    """What a procedure has learned on some rows, to be applied to others."""

    recipe: Recipe
    params: Params
    calibration: str
    calibration_params: dict[str, Any]

    def pool(self, logp_NVC: np.ndarray) -> np.ndarray:
        """Probabilities of one fold's views, not yet calibrated."""
        return POOLS[self.recipe.pooling].apply(logp_NVC, self.params)

    def calibrate(self, probabilities_NC: np.ndarray) -> np.ndarray:
        """Apply the fitted calibration."""
        return CALIBRATIONS[self.calibration].apply(probabilities_NC, self.calibration_params)


def fit(procedure: Procedure, oof: Oof, rows: np.ndarray) -> tuple[Fitted, Choice]:
    """Choose on `rows`, fit the chosen pool on them, and fit its calibration on their cross-fitted probabilities."""
    choice = choose(procedure, oof, rows)
    params = POOLS[choice.recipe.pooling].fit(oof.logp[choice.recipe.order_pooling][rows], oof.answers_N[rows])
    calibration = CALIBRATIONS[procedure.calibration].fit(choice.probabilities, oof.answers_N[rows])
    return Fitted(choice.recipe, params, procedure.calibration, calibration), choice


@dataclass(frozen=True)
class Nested:
    """What the outer cross-validation predicts per row, before and after calibration, and which recipes it chose."""

    pooled_NC: np.ndarray
    calibrated_NC: np.ndarray
    chosen: list[str]


def nested(procedure: Procedure, oof: Oof) -> Nested:
    """For each outer part in turn, run the whole procedure without it and predict it."""
    count = len(oof.answers_N)
    pooled_NC, calibrated_NC = np.empty((count, 4)), np.empty((count, 4))
    chosen = []
    for held in parts_of(oof.groups_N, OUTER_PARTS, procedure.seed):
        fitted, _ = fit(procedure, oof, np.setdiff1d(np.arange(count), held))
        pooled_NC[held] = fitted.pool(oof.logp[fitted.recipe.order_pooling][held])
        calibrated_NC[held] = fitted.calibrate(pooled_NC[held])
        chosen.append(fitted.recipe.name)
    return Nested(pooled_NC, calibrated_NC, chosen)


def hits(candidates: Sequence[Recipe], oof: Oof, seed: int) -> dict[Recipe, np.ndarray]:
    """Whether each candidate's cross-fitted prediction of each row is right, as `choose` judges it."""
    rows = np.arange(len(oof.answers_N))
    return {recipe: cross_fit(recipe, oof, rows, seed).argmax(1) == oof.answers_N for recipe in candidates}


def candidate_table(right: dict[Recipe, np.ndarray], default: Recipe, oof: Oof, seed: int) -> list[dict[str, Any]]:
    """Each candidate's cross-fitted OOF accuracy with its interval, and its paired test against the default."""
    return [
        {"name": recipe.name}
        | accuracy_summary(right_N)
        | {
            "against_default": paired_summary(right[default], right_N, oof.groups_N, seed)
            if recipe != default
            else None
        }
        for recipe, right_N in right.items()
    ]


def candidates(default: Recipe, order_poolings: Sequence[str]) -> tuple[Recipe, ...]:
    """All recipes that the scores allow: the default, then the others from simple to complex."""
    every = [Recipe(orders, pooling) for pooling in POOLS for orders in order_poolings]
    return (default, *(recipe for recipe in every if recipe != default))


def check_names(settings: EnsembleConfig) -> None:
    """Raise UserError if a method is unknown; the message names the nearest known one."""
    known = {"order_pooling": ORDER_POOLINGS, "pooling": tuple(POOLS), "calibration": tuple(CALIBRATIONS)}
    for key, names in known.items():
        check_name(f"config ensemble.{key}", getattr(settings, key), names)
    recipes = [f"{orders}+{pooling}" for orders in ORDER_POOLINGS for pooling in POOLS]
    check_name("config ensemble.recipe", settings.recipe, ["auto", "default", *recipes])


def check_name(where: str, name: str, known: Sequence[str]) -> None:
    """Raise UserError unless `name` is one of `known`."""
    if name not in known:
        raise UserError(f"{where}: {name!r} is unknown; {did_you_mean(name, known)}")


def all_candidates(settings: EnsembleConfig, priors: Priors, oof: Oof) -> tuple[Recipe, ...]:
    """All recipes that the scores allow, the configured default first.

    Where each choice is shown at each position equally often, removing a prior changes nothing. It is then left out
    unless the config names it: with more candidates, each needs a clearer gain.
    """
    known = all(prior is not None for prior in priors.values())
    asked_for_prior = settings.order_pooling == "prior" or settings.recipe.startswith("prior+")
    if asked_for_prior and not known:
        fold, view = next(place for place, prior in priors.items() if prior is None)
        raise UserError(
            f"config ensemble: a position prior cannot be estimated from the orders of oof/fold{fold}/{view}. "
            "Score in more orders (config orders: cyclic) or use geometric."
        )
    cancels = np.allclose(oof.logp["prior"], oof.logp["geometric"], equal_nan=True)
    offers_prior = asked_for_prior or (known and not cancels)
    allowed = [how for how in ORDER_POOLINGS if how != "prior" or offers_prior]
    return candidates(Recipe(settings.order_pooling, settings.pooling), allowed)


def wanted(settings: EnsembleConfig, every: Sequence[Recipe]) -> Recipe:
    """The one recipe that the config names."""
    return every[0] if settings.recipe == "default" else next(r for r in every if r.name == settings.recipe)
