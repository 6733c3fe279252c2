"""Intervals and tests against known values: a wrong interval sends users chasing noise."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqaflow.reporting.statistics import (
    accuracy_summary,
    bootstrap_interval,
    brier,
    calibration_summary,
    expected_calibration_error,
    leaderboard_half_width,
    paired_summary,
    recall_by_letter,
    recall_spread,
    reliability,
    widest,
    wilson,
)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 20, 0.0, 0.1611252), (20, 20, 0.8388748, 1.0), (50, 100, 0.4038315, 0.5961685)],
)
def test_wilson_known_values(right, n, low, high):
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-6)


@given(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_ends_at_the_ends(pair):
    right, n = pair
    low, high = wilson(right, n)
    assert 0 <= low <= high <= 1
    assert (low == 0) == (right == 0) and (high == 1) == (right == n)
    if n:
        assert low <= right / n <= high


# Every share of a few small numbers of rows, then shares of numbers up to a million.
CASES = [(right, n) for n in (1, 2, 3, 5, 10, 33) for right in range(n + 1)]
CASES += [(round(share * n), n) for n in (100, 387, 3887, 10**6) for share in np.linspace(0, 1, 125)]


def test_intervals_are_those_of_the_formula():
    """Written out once more: another version of scipy must not change the numbers of old runs."""
    z = NormalDist().inv_cdf(0.975)
    assert len(CASES) >= 550
    for right, n in CASES:
        share = right / n
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        assert wilson(right, n) == pytest.approx((centre - half, centre + half), abs=4e-16)


def test_no_rows_decide_nothing():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="must not be greater than n"):
        wilson(3, 2)


def test_expected_leaderboard_interval_of_the_competition():
    """At p = 0.92 and n = 3,887 a score moves by ±0.85 points without any change of the system."""
    assert round(100 * leaderboard_half_width(0.92, 3887), 2) == 0.85


def test_bootstrap_agrees_with_the_normal_interval_where_rows_are_independent():
    right = np.arange(2000) % 10 < 8
    low, high = bootstrap_interval(right, np.arange(2000))
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.003)
    assert bootstrap_interval(right, np.arange(2000)) == (low, high)


def test_a_single_group_has_no_bootstrap_interval():
    """Twenty rows about one picture would be reported as exactly 70 % right, with an interval of no width."""
    right, one = np.arange(20) < 14, np.zeros(20, int)
    assert bootstrap_interval(right, one) is None and bootstrap_interval(right[:0], one[:0]) is None
    assert accuracy_summary(right, one)["bootstrap"] is None
    assert widest(accuracy_summary(right, one)) == wilson(14, 20)


def test_bootstrap_widens_for_rows_that_share_a_group():
    """Ten questions about one picture are not ten independent observations."""
    right = np.repeat(np.arange(200) % 10 < 8, 10)
    alone, grouped = (bootstrap_interval(right, g) for g in (np.arange(2000), np.repeat(np.arange(200), 10)))
    assert grouped[1] - grouped[0] > 2.5 * (alone[1] - alone[0])


def test_bootstrap_divides_by_the_rows_that_it_drew():
    """Groups are of unequal size: divided by the rows of the table, shares above 1 would widen the interval."""
    groups = np.repeat(np.arange(30), np.arange(1, 31))
    assert bootstrap_interval(np.ones(len(groups)), groups) == (1, 1)


def test_paired_summary_counts_only_what_differs():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 1, 1], bool)
    summary = paired_summary(first, second, np.arange(5))
    assert (summary["only_first_right"], summary["only_second_right"]) == (1, 2)
    assert summary["gain"] == pytest.approx(0.2) and summary["p_value"] == 1.0


def test_calibration_measures_by_hand():
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.9, 0.1, 0, 0], [0.5, 0.3, 0.1, 0.1]])
    answers = np.array([0, 1, 0])
    # two rows at 0.9 of which one is right, one row at 0.5 that is right
    assert expected_calibration_error(probabilities, answers) == pytest.approx((2 * 0.4 + 0.5) / 3)
    assert brier(probabilities, answers) == pytest.approx((0.02 + 1.62 + 0.36) / 3)
    assert reliability(probabilities, answers)["n"] == [1, 2]
    assert calibration_summary(probabilities, answers)["nll"] == pytest.approx(-np.log([0.9, 0.1, 0.5]).mean())


def test_recall_spread_shows_position_bias():
    answers = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    assert recall_spread(recall_by_letter(answers, answers, 4)) == 0
    always_a = recall_by_letter(np.zeros(8, int), answers, 4)
    assert always_a == [1, 0, 0, 0] and recall_spread(always_a) == pytest.approx(np.std([1, 0, 0, 0]))
    assert recall_spread(recall_by_letter(np.array([0]), np.array([0]), 4)) is None


def test_the_recall_of_a_letter_is_of_its_own_rows():
    """Counted on the other letters' rows, a model that never answers `a` would look unbiased."""
    answers, predicted = np.array([0, 0, 1, 1, 1, 1]), np.array([0, 1, 1, 1, 1, 0])
    assert recall_by_letter(predicted, answers, 3) == [0.5, 0.75, None]


def test_the_interval_that_is_shown_covers_both():
    """Wilson's is too narrow where rows share an image; the bootstrap of groups has no width when all is right."""
    groups = np.repeat(np.arange(30), 8)
    right = groups % 3 > 0
    summary = accuracy_summary(right, groups)
    assert widest(summary) == summary["bootstrap"] and summary["bootstrap"][0] < summary["wilson"][0] - 0.05
    perfect = accuracy_summary(np.ones(240, bool), groups)
    assert perfect["bootstrap"] == (1, 1) and widest(perfect) == perfect["wilson"]
    assert widest(accuracy_summary(right)) == wilson(int(right.sum()), 240)
