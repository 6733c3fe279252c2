"""Comparisons find a difference where there is none as often as they say, in groups of 8 and over training seeds."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from vqaflow.commands.command_line import main
from vqaflow.demo.comparisons import CASES, Case, made_runs, mcnemar, true_accuracy
from vqaflow.evaluation.runs.seed_sets import summarized
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import accuracy_summary, widest

DRAWS = 400
FEWEST, MOST = binom.ppf(5e-4, DRAWS, 0.05), binom.ppf(1 - 5e-4, DRAWS, 0.05)


def gain(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (first, second), groups_N = made_runs(case, 2, 1, rng)
    return first[0], second[0], groups_N


def found(case: str, p_value: Callable[[Case, np.random.Generator], float]) -> int:
    """In how many null cases a test finds a difference at the level of 5 %."""
    return sum(p_value(CASES[case], np.random.default_rng([7, draw])) < 0.05 for draw in range(DRAWS))


def sign_flips(case: Case, rng: np.random.Generator) -> float:
    first_N, second_N, groups_N = gain(case, rng)
    return sign_flip_p_values([second_N.astype(float) - first_N], groups_N)[0]


def types(case: Case, rng: np.random.Generator) -> float:
    first_N, second_N, groups_N = gain(case, rng)
    gain_N = second_N.astype(float) - first_N
    return min(sign_flip_p_values([np.where(groups_N % 5 == number, gain_N, 0) for number in range(5)], groups_N))


@pytest.mark.parametrize("case", ["single rows", "60 groups of 8", "150 groups of 8"])
def test_sign_flips_of_groups_find_nothing_in_95_of_100_null_cases(case):
    """McNemar's test, which `compare` used to take, called one in five runs better that were not."""
    assert FEWEST <= found(case, sign_flips) <= MOST


def test_mcnemars_test_would_find_too_much_in_groups():
    """If this fails, the null cases no longer show what the test above is for."""
    assert found("60 groups of 8", lambda case, rng: mcnemar(*gain(case, rng)[:2])) > 2 * MOST


def test_five_types_together_find_no_more_than_one_test():
    """The correction is for the number of types: one in twenty types looks better by chance."""
    assert found("60 groups of 8", types) <= MOST


def test_training_seeds_are_in_the_comparison_of_sets_and_not_in_that_of_two_runs():
    """A setting whose runs differ by seeds is called better for its luck if only one run of each is compared."""
    case = "60 groups of 8, training seeds differ"
    assert found(case, sign_flips) > MOST

    def sets(one: Case, rng: np.random.Generator) -> float:
        (a_SN, b_SN), groups_N = made_runs(one, 2, 3, rng)
        return summarized(a_SN, b_SN, groups_N)["p_value"]

    assert found(case, sets) <= MOST


def test_the_told_interval_holds_the_accuracy_in_groups():
    """Wilson's interval alone takes rows as independent: it missed one in five."""
    case = CASES["150 groups of 8"]
    truth, missed, wilson = true_accuracy(case), 0, 0
    for draw in range(DRAWS):
        right, groups_N = made_runs(case, 1, 1, np.random.default_rng([9, draw]))
        summary = accuracy_summary(right[0, 0], groups_N)
        for name, (low, high) in (("told", widest(summary)), ("wilson", summary["wilson"])):
            missed += name == "told" and not low <= truth <= high
            wilson += name == "wilson" and not low <= truth <= high
    assert missed <= MOST < wilson


def test_the_true_accuracy_is_that_of_many_rows():
    case = CASES["60 groups of 8"]
    many = Case(groups=40_000, group_rows=2, ease=case.ease, group=case.group, own=case.own)
    right, _ = made_runs(many, 1, 1, np.random.default_rng(0))
    assert true_accuracy(case) == pytest.approx(right.mean(), abs=0.004)


def test_the_command_prints_a_line_per_test(capsys, tmp_path):
    """docs/statistics.md shows its table."""
    main(["simulate", "comparisons", "--draws", "2", "--json", str(tmp_path / "out.json")])
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("McNemar", "sign flips of groups", "--seeds", *CASES))
    assert (tmp_path / "out.json").is_file()
