"""AURC against its definition, row by row."""

import numpy as np
import pytest

from vqaflow.reporting.risk_coverage import risk_coverage_area


def naive(confidence, wrong):
    """The mean over rows of the error rate among the rows that are at least as confident."""
    risks = []
    for mine in confidence:
        kept = [bad for other, bad in zip(confidence, wrong, strict=True) if other >= mine]
        risks.append(sum(kept) / len(kept))
    return sum(risks) / len(risks)


@pytest.mark.parametrize("levels", [1, 4, 1000])
def test_it_is_the_definition_with_and_without_equal_confidences(levels):
    """Many rows have confidence 1 exactly: their order in the file must not change the number."""
    rng = np.random.default_rng(levels)
    confidence, wrong = rng.integers(0, levels, 300) / levels, rng.random(300) < 0.2
    found = risk_coverage_area(confidence, wrong, np.arange(300))["value"]
    order = rng.permutation(300)
    assert found == pytest.approx(naive(confidence, wrong), abs=1e-12)
    assert risk_coverage_area(confidence[order], wrong[order], np.arange(300))["value"] == pytest.approx(
        found, abs=1e-12
    )


def test_confidence_that_sorts_is_better_than_confidence_that_does_not():
    wrong = np.arange(100) < 20
    sorts, misleads = np.linspace(0, 1, 100), np.linspace(1, 0, 100)
    areas = [risk_coverage_area(c, wrong, np.arange(100))["value"] for c in (sorts, np.ones(100), misleads)]
    assert areas[0] < areas[1] == 0.2 < areas[2]
    assert risk_coverage_area(sorts, np.zeros(100, bool), np.arange(100)) == {"value": 0.0, "bootstrap": (0.0, 0.0)}


def test_its_interval_is_that_of_drawn_rows():
    """Of 95 %: the middle of the draws, as much left out below as above."""
    rng = np.random.default_rng(1)
    confidence, wrong = rng.random(30), rng.random(30) < 0.4
    drawn, rng = [], np.random.default_rng(7)
    for _ in range(2000):
        rows = rng.integers(0, 30, 30)
        drawn.append(naive(confidence[rows], wrong[rows]))
    found = risk_coverage_area(confidence, wrong, np.arange(30), 7)["bootstrap"]
    assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


def test_its_interval_draws_whole_groups():
    """Eight rows about one picture are not eight pictures."""
    rng = np.random.default_rng(0)
    wrong = np.repeat(rng.random(40) < 0.3, 8)
    confidence = np.repeat(rng.random(40), 8)
    low, high = risk_coverage_area(confidence, wrong, np.repeat(np.arange(40), 8))["bootstrap"]
    alone = risk_coverage_area(confidence, wrong, np.arange(320))["bootstrap"]
    assert high - low > 1.8 * (alone[1] - alone[0])
    assert risk_coverage_area(confidence, wrong, np.zeros(320))["bootstrap"] is None
