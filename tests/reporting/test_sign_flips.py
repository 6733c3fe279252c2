"""The sign-flip test against all sign patterns, and groups that two runs keep together."""

import itertools

import numpy as np
import pytest

from vqaflow.reporting.sign_flips import joined_groups, sign_flip_p_values


def test_the_p_value_is_that_of_all_patterns_of_signs():
    """Drawn at random, it must come near to what counting gives."""
    rng = np.random.default_rng(3)
    groups_N = np.repeat(np.arange(9), 4)
    difference_N = rng.integers(-1, 2, 36) + (rng.random(36) < 0.3)
    sums = np.bincount(groups_N, weights=difference_N)
    every = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.array(every) >= abs(sums.sum()) - 1e-9)
    assert sign_flip_p_values([difference_N], groups_N)[0] == pytest.approx(exact, abs=0.03)
    assert sign_flip_p_values([-difference_N], groups_N) == sign_flip_p_values([difference_N], groups_N)


def test_alike_rows_of_a_group_count_once():
    """Eight copies of a row are no eight proofs."""
    difference_N = np.repeat([1.0, 1, 1, 1, 1, -1], 8)
    alone, together = (
        sign_flip_p_values([difference_N], groups_N)[0] for groups_N in (np.arange(48), np.repeat(np.arange(6), 8))
    )
    assert alone < 1e-3 and together > 0.2


def test_rows_stay_together_if_either_run_keeps_them_together():
    """A run that groups by image and one that groups by question: rows linked by both are one group."""
    images, questions = np.array([0, 0, 1, 2, 3]), np.array([5, 6, 6, 7, 8])
    assert joined_groups(images, questions).tolist() == [0, 0, 0, 1, 2]
    assert joined_groups(np.array(["x", "y"]), np.array([1, 2])).tolist() == [0, 1]
    assert len(joined_groups(np.array([]), np.array([]))) == 0
