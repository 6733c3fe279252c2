"""Choosing on OOF how to pool, without reporting the number that was optimised.

A candidate is a pool over all sources, over all but one member or one view, or over one member. Candidates are compared
by cross-fitting: a pool is judged on other groups than those it learns from. A candidate takes the default's place if
it is not worse in the metric, and better beyond noise in the metric or in a loss (noise.py): by default, in right
answers or in the Brier score. Of several such candidates, the simplest is taken over which the best has no gain beyond
noise.

The whole procedure (choice, pool, calibration) runs inside an outer cross-validation. Its held-out probabilities are
the OOF file, and its accuracy is the one that is reported. Outer and inner cross-validation use the same parts of the
rows: with part i held out, part j is predicted by what was learned without i and j.

Shapes: N rows, S sources, C choices, G groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from vqaflow.config.recipe_names import Recipe
from vqaflow.ensemble.calibration import (
    CALIBRATIONS,
    best_temperature,
    logs_with_answers,
    temperature_of_confidence,
)
from vqaflow.ensemble.noise import Predicted, Scored, SignFlips
from vqaflow.ensemble.pooling import POOLS, Means, Params, learns
from vqaflow.ensemble.sources import Oof, Source
from vqaflow.reporting.sign_flips import blocks_of
from vqaflow.reporting.statistics import CONFIDENCE, share_given
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some
from vqaflow.scoring.order_pooling import log_softmax

PARTS = 5
WAYS = {
    "accuracy": "right answers",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "nll": "the cross-entropy",
}
LOSSES = {"brier": "the Brier score", "cross_entropy": "the cross-entropy to the people's shares"}
TEMPERATURE_ROWS = 10_000  # rows at most on which a candidate's temperature for the loss is fitted


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


def kept_sources(recipe: Recipe, sources: Sequence[Source]) -> list[int]:
    """The numbers of the sources that a recipe pools."""
    return [number for number, source in enumerate(sources) if _keeps(recipe, source)]


def _keeps(recipe: Recipe, source: Source) -> bool:
    if recipe.only is not None:
        return source.member == recipe.only
    return source.member != recipe.without or recipe.view not in (None, source.view)


def check_covered(recipe: Recipe, sources: Sequence[Source], logp_NSC: np.ndarray, ids: pl.Series) -> None:
    """Raise UserError if a row has none of the sources that the recipe keeps; `ids` are the rows' names."""
    kept = kept_sources(recipe, sources)
    none_N = np.isnan(logp_NSC[:, kept, 0]).all(1)
    if none_N.any():
        bad = ids.gather(np.flatnonzero(none_N)).to_list()
        raise UserError(
            f"results/members: rows {some(bad)} have no probability in any view that {recipe.name!r} pools. "
            "Complete the files of probabilities, or set ensemble.recipe: auto."
        )


@dataclass(frozen=True)
class Judged:
    """What a recipe predicts of all rows, as log-probabilities, and whether its answers are right."""

    logp_NC: np.ndarray
    right_N: np.ndarray


class CrossFit:
    """What each recipe predicts of rows that it has not learned from.

    `held` is the part of the rows that an outer round sets aside, or None where all rows count.
    """

    def __init__(self, oof: Oof, seed: int, metric: str = "accuracy") -> None:
        self.oof, self.seed, self.member_S, self.metric = oof, seed, oof.member_S, metric
        self.parts = parts_of(oof.groups_N, PARTS, seed)
        self.blocks_N = blocks_of(oof.groups_N, seed)
        self.means: dict[str, Means] = {}
        self.fitted: dict[tuple[Recipe, frozenset[int | None]], Params] = {}
        self.every_N = np.arange(len(oof.answers_N))
        self.pooled: dict[tuple[Recipe, int | None], np.ndarray] = {}
        self.known: dict[tuple[Recipe, int | None], Judged] = {}

    def rows(self, without: frozenset[int | None]) -> np.ndarray:
        """The numbers of the rows outside some parts, ascending."""
        inside = [rows for part, rows in enumerate(self.parts) if part not in without]
        return np.sort(np.concatenate(inside)) if inside else np.empty(0, int)

    def params(self, recipe: Recipe, without: frozenset[int | None] = frozenset()) -> Params:
        """What the recipe's pool learns outside some parts."""
        key = recipe, without
        if key not in self.fitted:
            rows, kept = self.rows(without), kept_sources(recipe, self.oof.sources)
            logp_NSC = take(self.oof.logp_NSC, rows, kept)
            member_S = renumbered(self.member_S[kept])
            self.fitted[key] = POOLS[recipe.pooling].fit(logp_NSC, member_S, self.oof.answers_N[rows])
        return self.fitted[key]

    def probabilities(self, recipe: Recipe, held: int | None) -> np.ndarray:
        """Pooled probabilities of all rows (N, C): of each part, by what was learned outside it and outside `held`."""
        key = recipe, held if learns(recipe.pooling) else None
        if key not in self.pooled:
            self.pooled[key] = self._learned(recipe, held) if learns(recipe.pooling) else self._plain(recipe)
        return self.pooled[key]

    def _judged(self, recipe: Recipe, held: int | None) -> "Judged":
        key = recipe, held if learns(recipe.pooling) else None
        if key not in self.known:
            pooled_NC = self.probabilities(recipe, held)
            logp_NC = logs_with_answers(pooled_NC, self.oof.answers)
            self.known[key] = Judged(logp_NC, pooled_NC.argmax(1) == self.oof.answers_N)
        return self.known[key]

    def _learned(self, recipe: Recipe, held: int | None) -> np.ndarray:
        pooled_NC = np.empty((len(self.oof.answers_N), self.oof.logp_NSC.shape[2]), order="F")
        for part, rows in enumerate(self.parts):
            params = self.params(recipe, frozenset({part, held} - {None}))
            pooled_NC[rows] = apply(recipe, self.oof.sources, take(self.oof.logp_NSC, rows), params)
        return pooled_NC

    def _plain(self, recipe: Recipe) -> np.ndarray:
        """The probabilities of a pool that learns nothing: its `apply`, but with the members' means kept."""
        if recipe.pooling not in self.means:
            logp_NSC = self.oof.logp_NSC
            values_NSC = logp_NSC if POOLS[recipe.pooling].log_folds else np.exp(logp_NSC)
            self.means[recipe.pooling] = Means(values_NSC, self.member_S)
        return self.means[recipe.pooling].probabilities(kept_sources(recipe, self.oof.sources), recipe.pooling)

    def scored(self, recipes: Sequence[Recipe], held: int | None, rows: np.ndarray) -> dict[Recipe, Scored]:
        """How the recipes do on `rows`, each predicted without having been learned from.

        Losses are those after a temperature: the first recipe has the best one, and the others one at which they
        are as sure, on average, as the first. So being too sure in general, which a calibration mends, is not held
        against a pool. (With the best temperature of each, one group of wrong answers would lower the confidence in
        all other rows, and look like as many losses.)
        """
        drawn, answers, confidence = rows, self.oof.answers, None
        if len(rows) > TEMPERATURE_ROWS:
            drawn = np.random.default_rng(self.seed).choice(rows, TEMPERATURE_ROWS, replace=False)
        found = {}
        for recipe in recipes:
            judged = self._judged(recipe, held)
            some_NC = judged.logp_NC[drawn]
            if confidence is None:
                temperature = best_temperature(some_NC, share_given(answers[drawn], some_NC))
                confidence = float(np.exp(log_softmax(some_NC / temperature)).max(1).mean()) if len(rows) else 1.0
            else:
                temperature = temperature_of_confidence(some_NC, confidence)
            found[recipe] = self._scored(judged, log_softmax(judged.logp_NC / temperature), rows)
        return found

    def _scored(self, judged: Judged, logp_NC: np.ndarray, rows: np.ndarray) -> Scored:
        """How a recipe does on `rows`, by its log-probabilities after a temperature."""
        oof, right_N = self.oof, judged.right_N[rows]
        if oof.shares_NC is None:
            p_NC = np.exp(logp_NC)
            loss_N = np.einsum("nc,nc->n", p_NC, p_NC) - 2 * p_NC[self.every_N, oof.answers_N] + 1
        else:
            loss_N = -share_given(oof.answers, logp_NC)
        loss = "brier" if oof.shares_NC is None else "cross_entropy"
        if self.metric == "accuracy":
            return Scored(right_N, loss_N[rows], loss)
        letters_N, log_loss_N = judged.logp_NC[rows].argmax(1), -share_given(oof.answers, logp_NC)[rows]
        about = Predicted(self.metric, oof.answers_N[rows], letters_N, log_loss_N, logp_NC.shape[1])
        return Scored(right_N, loss_N[rows], loss, about)


def take(logp_NSC: np.ndarray, rows: np.ndarray, sources: Sequence[int] | None = None) -> np.ndarray:
    """Some rows of some sources, in the same layout in memory."""
    chosen_NSC = logp_NSC if sources is None else some_sources(logp_NSC, sources)
    return chosen_NSC.transpose(1, 2, 0).take(rows, axis=2).transpose(2, 0, 1)


def some_sources(logp_NSC: np.ndarray, sources: Sequence[int]) -> np.ndarray:
    """Some sources, in the same layout in memory; all of them without a copy."""
    if len(sources) == logp_NSC.shape[1]:
        return logp_NSC
    return logp_NSC.transpose(1, 2, 0)[sources].transpose(2, 0, 1)


def renumbered(member_S: np.ndarray) -> np.ndarray:
    """Member numbers without gaps."""
    return np.unique(member_S, return_inverse=True)[1]


def apply(recipe: Recipe, sources: Sequence[Source], logp_NSC: np.ndarray, params: Params) -> np.ndarray:
    """A recipe's probabilities (N, C), not yet calibrated."""
    kept = kept_sources(recipe, sources)
    names = [sources[number].member for number in kept]
    member_S = np.array([names.index(name) for name in names])
    return POOLS[recipe.pooling].apply(some_sources(logp_NSC, kept), renumbered(member_S), params)


@dataclass(frozen=True)
class Procedure:
    """What is done with some rows: choose among `candidates` (unless there is only one), pool, calibrate.

    The first candidate is the default; the others stand from simple to complex.
    """

    candidates: tuple[Recipe, ...]
    calibration: str


@dataclass(frozen=True)
class Choice:
    """The chosen recipe, the reason, how each candidate does, and its p-values (in the metric, in the loss)."""

    recipe: Recipe
    reason: str
    scored: Mapping[Recipe, Scored]
    p_values: Mapping[Recipe, np.ndarray]


def choose(candidates: Sequence[Recipe], cross: CrossFit, held: int | None = None) -> Choice:
    """The simplest candidate (the default first) over which no other has a gain beyond noise."""
    rows = cross.rows(frozenset({held}))
    return choose_scored(cross.scored(candidates, held, rows), cross.blocks_N[rows], cross.seed)


def choose_scored(scored: Mapping[Recipe, Scored], blocks_N: np.ndarray, seed: int) -> Choice:
    """`choose`, from how each candidate does on the rows; the first is the default."""
    default, *others = scored
    if not others:
        return Choice(default, "set by ensemble.recipe", scored, {})
    flips = SignFlips(blocks_N, seed)
    gains = [scored[recipe].gain_over(scored[default]) for recipe in others]
    p_values = dict(zip(others, flips.p_values(gains), strict=True))
    better = [
        recipe
        for recipe, gain in zip(others, gains, strict=True)
        if gain[0].sum() >= 0 and p_values[recipe].min() <= 1 - CONFIDENCE
    ]
    if not better:
        return Choice(default, _why_default(default, scored, p_values), scored, p_values)
    best = max(better, key=lambda recipe: (scored[recipe].value, -scored[recipe].loss_N.sum()))
    chosen = next(r for r in better if r == best or not flips.beats(scored[best], scored[r]))
    way = _way(scored[default]) if p_values[chosen].argmin() == 0 else LOSSES[scored[default].loss]
    reason = (
        f"gains {_gain(scored[chosen], scored[default])} over the default, more than noise in {way} "
        f"(p = {p_values[chosen].min():.2g} after {len(others)} comparisons), and is the simplest of the best"
    )
    return Choice(chosen, reason, scored, p_values)


def _why_default(default: Recipe, scored: Mapping[Recipe, Scored], p_values: Mapping[Recipe, np.ndarray]) -> str:
    """Why no candidate takes the default's place."""
    best, first = max(scored, key=lambda recipe: scored[recipe].value), scored[default]  # the first of equal ones
    if best == default:
        loss = f"and better in {LOSSES[first.loss]} beyond noise"
        if first.metric == "accuracy":
            return f"no candidate is more accurate than the default, or as accurate {loss}"
        return f"no candidate is better than the default in {_way(first)}, or as good {loss}"
    return (
        f"the gain of {best.name}, {_gain(scored[best], first)} (p = {p_values[best].min():.2g} after {len(p_values)} "
        "comparisons), is within noise, so the default stays"
    )


def _way(scored: Scored) -> str:
    """The metric, in words."""
    return WAYS[scored.metric]


def _gain(better: Scored, default: Scored) -> str:
    """The gain in the metric, in words."""
    gain = better.value - default.value
    return f"{gain:.4f} nats" if default.metric == "nll" else f"{100 * gain:.2f} points"


@dataclass(frozen=True)
class Fitted:
    """What a procedure has learned on some rows, to be applied to others."""

    recipe: Recipe
    params: Params
    calibration: str
    calibration_params: dict[str, Any]

    def pool(self, sources: Sequence[Source], logp_NSC: np.ndarray) -> np.ndarray:
        """Probabilities (N, C), not yet calibrated."""
        return apply(self.recipe, sources, logp_NSC, self.params)

    def calibrate(self, probabilities_NC: np.ndarray) -> np.ndarray:
        """Apply the fitted calibration."""
        return CALIBRATIONS[self.calibration].apply(probabilities_NC, self.calibration_params)


def fit(procedure: Procedure, cross: CrossFit, held: int | None = None) -> tuple[Fitted, Choice]:
    """Choose on the rows outside `held`, fit the pool on them, and calibrate their cross-fitted probabilities."""
    choice = choose(procedure.candidates, cross, held)
    without = frozenset({held} - {None})
    rows = cross.rows(without)
    pooled_NC = cross.probabilities(choice.recipe, held)[rows]
    calibration = CALIBRATIONS[procedure.calibration].fit(pooled_NC, cross.oof.answers[rows])
    return Fitted(choice.recipe, cross.params(choice.recipe, without), procedure.calibration, calibration), choice


@dataclass(frozen=True)
class Nested:
    """What the outer cross-validation predicts per row, before and after calibration, and which recipes it chose."""

    pooled_NC: np.ndarray
    calibrated_NC: np.ndarray
    chosen: list[str]


def nested(procedure: Procedure, cross: CrossFit) -> Nested:
    """For each part in turn, run the whole procedure without it and predict it."""
    shape = len(cross.oof.answers_N), cross.oof.logp_NSC.shape[2]
    pooled_NC, calibrated_NC, chosen = np.empty(shape), np.empty(shape), []
    for held, rows in enumerate(cross.parts):
        fitted, _ = fit(procedure, cross, held)
        pooled_NC[rows] = cross.probabilities(fitted.recipe, held)[rows]
        calibrated_NC[rows] = fitted.calibrate(pooled_NC[rows])
        chosen.append(fitted.recipe.name)
    return Nested(pooled_NC, calibrated_NC, chosen)


def offered(candidates: Sequence[Recipe], sources: Sequence[Source], whole: set[int]) -> tuple[Recipe, ...]:
    """The candidates that can answer every row: those that keep a source that lacks none, and those that keep all."""
    return tuple(
        recipe
        for recipe in candidates
        if len(kept := kept_sources(recipe, sources)) == len(sources) or whole.intersection(kept)
    )
