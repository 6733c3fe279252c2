"""Test rows: the fitted pool applied to each fold's adapters, averaged, calibrated and sharpened.

Tuned members have an adapter per fold, and perhaps one that was trained on all rows (refit). Untuned members and files
have the same probabilities in every fold. A pool is applied fold by fold, as it was validated, and once more with the
refit adapters in the place of their members' folds; the two results count half and half.

Shapes: N test rows, S sources, C choices.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from vqaflow.artifacts.parts import ALL
from vqaflow.ensemble.pooling import average
from vqaflow.ensemble.recipes import Fitted, check_covered, kept_sources
from vqaflow.ensemble.sharpening import Sharpening, sharpen, sharpening
from vqaflow.ensemble.sources import Member, ViewsOfTest, sources_of
from vqaflow.runtime.progress import ProgressBar


@dataclass(frozen=True)
class PooledTest:
    """Calibrated probabilities of the test rows: of each fold alone, and of the average of all."""

    singles: dict[str, np.ndarray]  # by the name of the fold; one entry if no kept member has folds
    average_NC: np.ndarray


@dataclass(frozen=True)
class Pass:
    """One application of the pool: which part each member gives, and of which fold it is (None: of the refit)."""

    parts: dict[str, str]
    fold: str | None


def passes(members: Sequence[Member]) -> Iterator[Pass]:
    """All applications of the pool to the test rows, the refit's last."""
    folds = next((member.folds for member in members if member.folds), ())
    for fold in folds or (members[0].parts[0],):
        yield Pass({member.name: fold if member.folds else member.parts[0] for member in members}, fold)
    refit = [member.name for member in members if member.refit]
    others = [member for member in members if member.folds and not member.refit]
    for fold in (folds if others else folds[:1]) if refit else ():
        parts = {member.name: fold if member.folds else member.parts[0] for member in members}
        yield Pass(parts | dict.fromkeys(refit, ALL), None)


def pool_test(members: Sequence[Member], rows: pl.DataFrame, fitted: Fitted) -> PooledTest:
    """Apply `fitted` to the test rows (id, own letters); one part of each member is in memory at a time."""
    kept = {sources_of(members)[number].member for number in kept_sources(fitted.recipe, sources_of(members))}
    members = [member for member in members if member.name in kept]
    sources, views = sources_of(members), ViewsOfTest(members, rows)
    by_fold: dict[str, np.ndarray] = {}
    of_refit = []
    every = list(passes(members))
    with ProgressBar(len(every), "pool", unit="fold") as bar:
        for one in every:
            logp_NSC = views.read(one.parts)
            check_covered(fitted.recipe, sources, logp_NSC, rows["id"])
            pooled_NC = fitted.pool(sources, logp_NSC)
            if one.fold is None:
                of_refit.append(pooled_NC)
            else:
                by_fold[one.fold] = pooled_NC
            bar.advance()
    pooling = fitted.recipe.pooling
    average_NC = average(list(by_fold.values()), pooling)
    if of_refit:
        average_NC = average([average_NC, average(of_refit, pooling)], pooling)
    singles = {fold: fitted.calibrate(pooled_NC) for fold, pooled_NC in by_fold.items()}
    return PooledTest(singles, fitted.calibrate(average_NC))


def sharpened(pooled: PooledTest) -> tuple[np.ndarray, Sharpening | None]:
    """The average at the temperature that the folds' agreement gives, and this temperature; one fold: unchanged."""
    found = sharpening(list(pooled.singles.values()), pooled.average_NC)
    return sharpen(pooled.average_NC, found), found
