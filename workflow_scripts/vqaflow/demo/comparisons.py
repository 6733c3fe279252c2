"""How often comparisons find a difference where there is none: null cases with rows in groups.

Two systems answer the same rows and are equally good. In each group, one of them may know more than the other, and
which one is chance. Types of questions belong to groups. In further cases each training seed of a setting shifts a
run's answers, and the settings are equally good.

Shapes: N rows, G groups, S runs of a set.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta, binomtest

from vqaflow.evaluation.runs.seed_sets import summarized
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import CONFIDENCE, accuracy_summary, paired_summary, widest
from vqaflow.reporting.terminal_table import table_lines

LEVEL = 1 - CONFIDENCE
TYPES = 5


@dataclass(frozen=True)
class Case:
    """A null case: its groups, and standard deviations in logits of right answers.

    `own` is what a system knows more or less in a group, `group` how groups differ in difficulty for both, `seed` what
    a training seed adds to a run in all rows.
    """

    groups: int = 60
    group_rows: int = 8
    ease: float = 1.5
    group: float = 1.0
    own: float = 1.7
    seed: float = 0.0


CASES: Mapping[str, Case] = {
    "single rows": Case(groups=480, group_rows=1),
    "60 groups of 8": Case(),
    "150 groups of 8": Case(groups=150),
    "20 groups of 8": Case(groups=20),
    "60 groups of 8, training seeds differ": Case(seed=0.25),
}


def mcnemar(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """The exact two-sided p-value of McNemar's test, which takes rows as independent."""
    only_first, only_second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
    differing = only_first + only_second
    return float(binomtest(only_first, differing, 0.5).pvalue) if differing else 1.0


def made_runs(case: Case, settings: int, runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which rows each run of each setting answers right (settings, S, N), and the rows' groups.

    Runs of a setting share what it knows of a group.
    """
    groups_N = np.repeat(np.arange(case.groups), case.group_rows)
    difficulty_G = case.group * rng.normal(size=case.groups)
    own_G = case.own * rng.normal(size=(settings, 1, case.groups))
    seed_shift = case.seed * rng.normal(size=(settings, runs, 1))
    logit_N = (case.ease + difficulty_G + own_G + seed_shift)[..., groups_N]
    return rng.random(logit_N.shape) < 1 / (1 + np.exp(-logit_N)), groups_N


def two_runs(case: Case, rng: np.random.Generator) -> dict[str, bool]:
    """Whether each test finds a difference between one run of each of two settings."""
    right, groups_N = made_runs(case, 2, 1, rng)
    first_N, second_N = right[:, 0]
    types = [groups_N % TYPES == number for number in range(TYPES)]
    gain_N = second_N.astype(np.float64) - first_N
    by_type = [np.where(mine_N, gain_N, 0.0) for mine_N in types]
    low, high = paired_summary(first_N, second_N, groups_N)["bootstrap"]
    sign_flip = sign_flip_p_values([gain_N], groups_N)[0] < LEVEL
    return {
        "McNemar": mcnemar(first_N, second_N) < LEVEL,
        "bootstrap of groups": not low <= 0 <= high,
        "sign flips of groups": sign_flip,
        "verdict of compare": sign_flip and not low <= 0 <= high,
        "any of 5 types, McNemar": min(mcnemar(first_N[mine], second_N[mine]) for mine in types) < LEVEL,
        "any of 5 types, sign flips, corrected": min(sign_flip_p_values(by_type, groups_N)) < LEVEL,
    }


def two_sets(case: Case, rng: np.random.Generator, runs: int = 3) -> dict[str, bool]:
    """Whether the test of two sets of runs finds a difference between settings that are equally good."""
    (a_SN, b_SN), groups_N = made_runs(case, 2, runs, rng)
    return {f"{runs} runs each, --seeds": summarized(a_SN, b_SN, groups_N)["p_value"] < LEVEL}


def single_accuracy(case: Case, rng: np.random.Generator) -> dict[str, bool]:
    """Whether each interval of one run's accuracy misses the true one."""
    right, groups_N = made_runs(case, 1, 1, rng)
    truth = true_accuracy(case)
    summary = accuracy_summary(right[0, 0], groups_N)

    def missed(ends: tuple[float, float]) -> bool:
        return not ends[0] <= truth <= ends[1]

    return {
        "accuracy outside Wilson's interval": missed(summary["wilson"]),
        "accuracy outside the told interval": missed(widest(summary)),
    }


def true_accuracy(case: Case) -> float:
    """The expected accuracy of a run, over groups, systems and seeds: a mean over a normal, by its quantiles."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spread = float(np.sqrt(case.group**2 + case.own**2 + case.seed**2))
    return float((weights / (1 + np.exp(-case.ease - spread * nodes))).sum() / weights.sum())


MEASURES: tuple[Callable[[Case, np.random.Generator], dict[str, bool]], ...] = (two_runs, two_sets, single_accuracy)


def false_positives(case: Case, draws: int, seed: int) -> dict[str, list[float]]:
    """For each test, the share of `draws` in which it is wrong, and the ends of this share's exact 95 % interval."""
    wrong: dict[str, int] = {}
    for draw in range(draws):
        for place, measure in enumerate(MEASURES):
            for name, is_wrong in measure(case, np.random.default_rng([seed, draw, place])).items():
                wrong[name] = wrong.get(name, 0) + bool(is_wrong)
    return {name: [count / draws, *clopper_pearson(count, draws)] for name, count in wrong.items()}


def clopper_pearson(count: int, draws: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson, Biometrika 26, 1934)."""
    low = beta.ppf(LEVEL / 2, count, draws - count + 1) if count else 0.0
    high = beta.ppf(1 - LEVEL / 2, count + 1, draws - count) if count < draws else 1.0
    return float(low), float(high)


def judge_comparisons(draws: int, seed: int) -> dict[str, Any]:
    """`false_positives` of every case."""
    return {name: false_positives(case, draws, seed) for name, case in CASES.items()}


def comparison_lines(found: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    """The shares as a table: one line per test, one column per case."""
    tests = next(iter(found.values()))
    rows = [[test, *(f"{100 * case[test][0]:.1f} %" for case in found.values())] for test in tests]
    return table_lines(["found or missed where nothing differs", *found], rows)
