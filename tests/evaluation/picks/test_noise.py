"""The stated noise of public scores is what draws of public rows show."""

import math

import numpy as np
import pytest

from vqaflow.evaluation.picks.noise import TWO_SIDED, Board, differences, luck, public_noise, shift_noise

DRAWS = 2000


def draw_public(values_N, public, rng, draws=DRAWS):
    """Sums over the public rows in many draws without replacement."""
    order_RN = rng.random((draws, len(values_N))).argsort(1)
    return values_N[order_RN[:, :public]].sum(1)


@pytest.mark.parametrize(
    ("differing", "decisive", "share"), [(40, 1.0, 0.5), (60, 0.6, 0.5), (60, 0.6, 0.2), (200, 0.8, 0.7)]
)
def test_noise_of_a_public_difference(differing, decisive, share):
    """Someone who reads "±4.5 answers" decides by it: the signs and the public rows are drawn here, not assumed."""
    rng, rows = np.random.default_rng(1), 400
    board = Board(rows, round(share * rows))
    public = [draw_public(signs(rng, rows, differing, decisive), board.public, rng, 10) for _ in range(400)]
    assert np.std(public) == pytest.approx(public_noise(board, differing, decisive), rel=0.06)
    inside = np.abs(public) <= TWO_SIDED * public_noise(board, differing, decisive)
    assert 0.92 < inside.mean() < 0.98


def signs(rng, rows, differing, decisive):
    """+1 and -1 with equal chances on the rows that differ and where one file is right."""
    values_N = np.zeros(rows)
    counts = rng.random(differing) < decisive
    values_N[:differing] = np.where(rng.random(differing) < 0.5, 1, -1) * counts
    return values_N


def test_half_public_is_the_rule_of_thumb():
    """sqrt(D / 2) right answers, as competitors say, if one of the two is always right."""
    assert public_noise(Board(1000, 500), 72) == pytest.approx(math.sqrt(72 / 2))


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_public_against_private_score(share):
    """A team that fell six ranks had read the public score as its own: exact for draws without replacement."""
    rng, rows, right = np.random.default_rng(2), 300, 270
    values_N = (np.arange(rows) < right).astype(float)
    board = Board(rows, round(share * rows))
    sums_R = draw_public(values_N, board.public, rng)
    apart_R = sums_R / board.public - (right - sums_R) / board.private
    stated = shift_noise(board, right / rows * (1 - right / rows))
    assert apart_R.std() == pytest.approx(stated, rel=0.04)
    assert 0.93 < (np.abs(apart_R) <= TWO_SIDED * stated).mean() < 0.975


def test_public_against_private_difference_of_two_files():
    """The variance q·D/n is that of balanced signs; with a true difference it is an upper bound."""
    rng, rows, differing = np.random.default_rng(3), 400, 80
    values_N = np.zeros(rows)
    values_N[:30], values_N[30:60] = 1, -1  # q = 60/80
    board = Board(rows, 200)
    sums_R = draw_public(values_N, board.public, rng)
    apart_R = sums_R / board.public - (values_N.sum() - sums_R) / board.private
    assert apart_R.std() == pytest.approx(shift_noise(board, 0.75 * differing / rows), rel=0.04)


def test_luck_is_the_mean_of_the_largest():
    rng = np.random.default_rng(4)
    for tries in (2, 5, 20, 100):
        assert luck(tries) == pytest.approx(rng.normal(size=(40_000, tries)).max(1).mean(), abs=0.02)
    assert luck(1) == luck(0) == 0


def test_differences_are_counted_by_pair():
    counted = differences(np.array([[0, 1, 2], [0, 1, 3], [1, 0, 3]]))
    assert counted.tolist() == [[0, 1, 3], [1, 0, 2], [3, 2, 0]]
