"""Does the interval that a run tells for new rows hold their accuracy as often as it says?

The told interval is made from OOF rows, and from test rows without their answers, by the code of a run. The answers of
the test rows then say whether it held. The scores are those of drawn demos (redraws.py), or made ones: adapters share
what they know and a noise, each has a noise of its own, and rows of one group share a part of how difficult they are.

Shapes: N training rows, T test rows, K folds, C choices, G groups, R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqaflow.config.recipe_names import Recipe
from vqaflow.demo.redraws import Scores
from vqaflow.ensemble.pooling import average
from vqaflow.ensemble.recipe_file import expected_summary, nested_summary
from vqaflow.ensemble.recipes import CrossFit, Procedure, fit, nested
from vqaflow.ensemble.sources import Oof, Source
from vqaflow.ensemble.test_rows import PooledTest, sharpened
from vqaflow.reporting.statistics import widest
from vqaflow.reporting.terminal_table import table_lines

SOURCES = (Source("main", "original"),)
PROCEDURE = Procedure((Recipe("mean"),), "temperature")
INTERVALS = ("oof", "mean", "score")  # of OOF accuracy; of the accuracy to expect; of a score on the test rows
CHOICES = 4


def told(scores: Scores, seed: int) -> dict[str, Any]:
    """What a run with these scores tells, and what the test rows' answers say."""
    oof = Oof(SOURCES, scores.oof_NC[:, None].astype(np.float64), scores.answers_N, scores.groups_N)
    cross = CrossFit(oof, seed)
    held_out = nested(PROCEDURE, cross)
    fitted, choice = fit(PROCEDURE, cross)
    pooled = [fitted.pool(SOURCES, logp_TC[:, None].astype(np.float64)) for logp_TC in scores.test_KTC]
    singles = {str(fold): fitted.calibrate(p_TC) for fold, p_TC in enumerate(pooled)}
    p_TC, found = sharpened(PooledTest(singles, fitted.calibrate(average(pooled, "mean"))))
    of_oof = nested_summary(held_out, choice, cross)
    expected = expected_summary(of_oof, found, len(scores.answers_T))
    right_KT = np.array([single.argmax(1) == scores.answers_T for single in singles.values()])
    return {
        "oof": of_oof["accuracy"],
        "expected": expected["accuracy"],
        "intervals": dict(
            zip(INTERVALS, (widest(of_oof), expected["interval"], expected["score_interval"]), strict=True)
        ),
        "test": float((p_TC.argmax(1) == scores.answers_T).mean()),
        "single": float(right_KT.mean()),
    }


def summarized(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over all draws: how often each interval holds the test rows' accuracy, its half width, and the gain told."""
    test, single, oof, expected = (
        np.array([one[key] for one in found]) for key in ("test", "single", "oof", "expected")
    )
    ends = {name: np.array([one["intervals"][name] for one in found]) for name in INTERVALS}
    return {
        "draws": len(found),
        "oof": float(oof.mean()),
        "test": float(test.mean()),
        "gain": float((test - single).mean()),
        "gain_told": float((expected - oof).mean()),
        "held": {name: float(((ends[name][:, 0] <= test) & (test <= ends[name][:, 1])).mean()) for name in INTERVALS},
        "half_width": {name: float(np.diff(ends[name]).mean() / 2) for name in INTERVALS},
        "deviation": float((test - expected).std(ddof=1)) if len(found) > 1 else None,
    }


def judge_drawn(drawn: Mapping[str, Mapping[int, Scores]]) -> dict[str, Any]:
    """By base: the summary over its seeds, and each seed's figures."""
    judged = {}
    for base, by_seed in drawn.items():
        each = {str(seed): told(scores, seed) for seed, scores in by_seed.items()}
        judged[Path(base).name] = summarized(list(each.values())) | {"seeds": each}
    return judged


@dataclass(frozen=True)
class World:
    """How scores are made: sizes of OOF and test rows, rows per group, and standard deviations in logits.

    `shared` and `own` are the noise of all adapters and of each, `group` is that of a group's difficulty.
    """

    rows: int = 1200
    tests: int = 600
    folds: int = 3
    group_rows: int = 2
    known: float = 3.6
    shared: float = 1.1
    own: float = 0.45
    group: float = 0.8


WORLDS: Mapping[str, World] = {
    "like the demo": World(),
    "groups of 8": World(group_rows=8),
    "adapters that disagree": World(own=1.0, shared=0.8),
    "nearly always right": World(known=5.2),
    "300 rows, 200 to answer": World(rows=300, tests=200),
    "5 folds, more to answer than to learn from": World(rows=1000, tests=3000, folds=5),
}


def made_scores(world: World, seed: int) -> Scores:
    """Scores of OOF rows and of test rows, which come in groups of the same size."""
    rng = np.random.default_rng(seed)
    oof_KNC, answers_N, groups_N = _made(world, world.rows, rng)
    test_KTC, answers_T, _ = _made(world, world.tests, rng)
    fold_N = (groups_N % world.folds)[None, :, None]
    return Scores(np.take_along_axis(oof_KNC, fold_N, 0)[0], answers_N, groups_N, test_KTC, answers_T)


def _made(world: World, rows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities (K, R, C) by each adapter, answers (R) and groups (R)."""
    groups_R = np.arange(rows) // world.group_rows
    answers_R = rng.integers(0, CHOICES, rows)
    known_R = world.known + world.group * rng.normal(size=groups_R[-1] + 1)[groups_R]
    shared_RC = known_R[:, None] * np.eye(CHOICES)[answers_R] + world.shared * rng.normal(size=(rows, CHOICES))
    logits_KRC = shared_RC + world.own * rng.normal(size=(world.folds, rows, CHOICES))
    peak_KR1 = logits_KRC.max(-1, keepdims=True)
    logp_KRC = logits_KRC - peak_KR1 - np.log(np.exp(logits_KRC - peak_KR1).sum(-1, keepdims=True))
    return logp_KRC, answers_R, groups_R


def judge_made(draws: int) -> dict[str, Any]:
    """By world: the summary over so many sets of made scores."""
    if not draws:
        return {}
    return {
        name: summarized([told(made_scores(world, seed), seed) for seed in range(draws)])
        for name, world in WORLDS.items()
    }


HEADER = ["scores", "draws", "OOF", "test", "gain", "told", "holds: OOF", "expected", "score", "± OOF", "± expected"]
HEADER += ["± score"]


def held_lines(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The figures as a table, one line per base and per world."""
    rows = []
    for name, one in (found["drawn"] | found["made"]).items():
        shares = [f"{one[key]:.4f}" for key in ("oof", "test", "gain", "gain_told")]
        held = [f"{one['held'][key]:.3f}" for key in INTERVALS]
        rows.append([name, str(one["draws"]), *shares, *held, *(f"{one['half_width'][key]:.4f}" for key in INTERVALS)])
    return table_lines(HEADER, rows)
