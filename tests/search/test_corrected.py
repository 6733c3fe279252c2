"""The best of many trials is partly lucky: what best.yaml says to expect of it must not count the luck."""

import numpy as np
import pytest

from vqaflow.search.corrected import corrected_accuracy
from vqaflow.search.shares import SHARES, Curve, step_of


def trials(rng: np.random.Generator, truths: np.ndarray, groups: int = 100, size: int = 4) -> tuple:
    """Right answers of trials on rows in groups: rows of a group are alike, and all trials share some of that."""
    group_N = np.repeat(np.arange(groups), size)
    shift = np.log(truths / (1 - truths))[:, None] + (0.7 * rng.normal(size=groups))[group_N]
    own = (0.7 * rng.normal(size=(len(truths), groups)))[:, group_N]
    logit = 1.2 * shift + own
    return (rng.random(logit.shape) < 1 / (1 + np.exp(-logit))).astype(float), group_N


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_the_corrected_accuracy_is_nearer_to_the_truth_than_the_best(apart):
    """On 400 rows the best of 12 equal trials is two points too high: a user would expect what never comes."""
    rng = np.random.default_rng(5)
    told, corrected, truths = [], [], []
    for _ in range(40):
        chances = 1 / (1 + np.exp(-(1.8 + apart * rng.normal(size=12))))
        right_TN, groups_N = trials(rng, chances)
        best = int(right_TN.mean(1).argmax())
        fresh, _ = trials(rng, chances[[best]], groups=2000)
        told.append(right_TN[best].mean())
        corrected.append(corrected_accuracy(right_TN, groups_N, seed=1))
        truths.append(fresh.mean())
    too_high, left = np.mean(told) - np.mean(truths), np.mean(corrected) - np.mean(truths)
    assert too_high > 0.01
    assert abs(left) < 0.5 * too_high


def test_one_trial_is_not_corrected_by_more_than_chance():
    """Nothing was chosen, so nothing is too high."""
    right_TN, groups_N = trials(np.random.default_rng(1), np.array([0.8]))
    assert corrected_accuracy(right_TN, groups_N) == pytest.approx(right_TN.mean(), abs=0.004)
    assert corrected_accuracy(right_TN, np.zeros(len(groups_N), int)) is None


def reported(validations: list[float]) -> dict[int, float]:
    """What a trial of one fold reports that validates at equal distances."""
    curve, found = Curve(0, 0.0), {}
    for number, accuracy in enumerate(validations, start=1):
        found |= dict(curve.until(step_of(0, number / len(validations)), accuracy))
    return found


def test_trials_of_different_length_are_compared_at_equal_shares_of_the_schedule():
    """Two of four epochs, with a high learning rate, are not two of two: the longer trial would be pruned for it."""
    long, short = reported([0.1, 0.2, 0.3, 0.4]), reported([0.5, 0.7])
    assert max(long) == max(short) == SHARES
    assert long[SHARES // 2] == 0.2 and short[SHARES // 2] == 0.5
    assert short[SHARES * 3 // 4] == pytest.approx(0.6) and long[SHARES * 3 // 4] == pytest.approx(0.3)
    assert min(long) == SHARES // 4 and min(short) == SHARES // 2


def test_nothing_is_invented_between_folds_or_for_steps_that_were_reported():
    """The mean over folds jumps where a fold begins; and a trial that was taken over reports no step twice."""
    curve = Curve(0, 0.0)
    assert dict(curve.until(step_of(0, 1.0), 0.8)) == {SHARES: 0.8}
    assert dict(curve.until(step_of(1, 0.5), 0.7)) == {SHARES + SHARES // 2: 0.7}
    assert dict(curve.until(step_of(1, 0.5), 0.7)) == {}
