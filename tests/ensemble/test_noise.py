"""What counts as more than noise: exact where it can be computed, and rarely wrong where nothing differs."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from vqaflow.ensemble.noise import Scored, SignFlips, paired_summaries
from vqaflow.reporting import sign_flips
from vqaflow.reporting.sign_flips import blocks_of
from vqaflow.reporting.statistics import bootstrap_interval, paired_summary


def hits_only(difference_N):
    """A gain (2, N) in right answers, with equal Brier scores."""
    return np.stack([np.asarray(difference_N, float), np.zeros(len(difference_N))])


def exact_p(gains, groups_N):
    """The maximum test over all sign patterns of the groups, in plain loops."""
    unique = sorted(set(groups_N))
    lines = [way_N for gain in gains for way_N in gain]
    sums = [[sum(v for v, g in zip(line, groups_N, strict=True) if g == u) for u in unique] for line in lines]
    sizes = [sum(x * x for x in line) ** 0.5 or 1.0 for line in sums]
    seen = [sum(line) / size for line, size in zip(sums, sizes, strict=True)]
    largest = [
        max(sum(s * x for s, x in zip(signs, line, strict=True)) / size for line, size in zip(sums, sizes, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(unique))
    ]
    return [np.mean([top >= value - 1e-9 for top in largest]) for value in seen]


def test_p_values_are_those_of_all_sign_patterns():
    rng = np.random.default_rng(3)
    groups_N = np.repeat(np.arange(9), 3)
    gains = [np.stack([rng.integers(-1, 2, 27), rng.normal(0.2, 1, 27)]).astype(float) for _ in range(3)]
    found = SignFlips(groups_N, seed=0).p_values(gains)
    np.testing.assert_allclose(found.ravel(), exact_p(gains, groups_N), atol=0.03)


def test_one_candidate_in_single_rows_has_half_of_mcnemars_p():
    """The test is McNemar's, one-sided, where each row is its own group."""
    gain = hits_only([1] * 9 + [-1] * 2 + [0] * 50)
    found = SignFlips(np.arange(61), seed=0).p_values([gain])[0, 0]
    assert found == pytest.approx(binomtest(2, 11).pvalue / 2, abs=0.012)


def test_rows_of_one_group_count_as_one():
    """Twelve questions about one picture, all won, are one lucky picture."""
    gain = hits_only([1] * 12 + [0] * 40)
    groups_N = np.array([0] * 12 + list(range(1, 41)))
    assert SignFlips(np.arange(52), 0).p_values([gain])[0, 0] < 0.01
    assert SignFlips(groups_N, 0).p_values([gain])[0, 0] > 0.4


def test_each_further_candidate_raises_the_bar():
    rng = np.random.default_rng(0)
    gain = hits_only([1] * 8 + [-1] + [0] * 60)
    others = [hits_only(rng.permutation(gain[0]) * rng.choice([-1, 1], 69)) for _ in range(30)]
    alone, among = (SignFlips(np.arange(69), 0).p_values(gains)[0, 0] for gains in ([gain], [gain, *others]))
    assert alone < 0.05 < among
    copies = SignFlips(np.arange(69), 0).p_values([gain] * 31)[0, 0]
    assert copies == pytest.approx(alone, abs=0.005), "candidates that are alike are one comparison"


def test_a_gain_in_the_brier_score_alone_counts_only_without_loss_of_hits():
    rng = np.random.default_rng(1)
    right_N, brier_N = np.ones(200, bool), rng.uniform(0.2, 0.4, 200)
    first, sharper = Scored(right_N, brier_N), Scored(right_N, brier_N - 0.05)
    flips = SignFlips(np.arange(200), 0)
    assert flips.beats(sharper, first) and not flips.beats(first, sharper)
    one_lost = Scored(np.arange(200) > 0, brier_N - 0.05)
    assert not flips.beats(one_lost, first)


def test_many_groups_form_blocks_that_keep_them_whole(monkeypatch):
    """Else the draws for 100,000 groups would take minutes; a group in two blocks would count twice."""
    monkeypatch.setattr(sign_flips, "MOST_BLOCKS", 10)
    groups_N = np.random.default_rng(0).integers(0, 40, 300)
    block_N = blocks_of(groups_N, seed=5)
    assert len(set(block_N)) == 10
    assert all(len(set(block_N[groups_N == group])) == 1 for group in set(groups_N))
    monkeypatch.undo()
    assert len(set(blocks_of(groups_N, seed=5))) == len(set(groups_N))


def test_the_table_of_candidates_has_the_usual_paired_numbers():
    rng = np.random.default_rng(2)
    groups_N, first_N = np.sort(rng.geometric(0.1, 120)), rng.random(120) < 0.7  # of uneven sizes
    others = [rng.random(120) < share for share in (0.6, 0.75)]
    gains = [hits_only(other_N.astype(float) - first_N) for other_N in others]
    for made, other_N in zip(paired_summaries(gains, groups_N, 7), others, strict=True):
        expected = paired_summary(first_N, other_N, groups_N, 7)
        assert made.pop("bootstrap") == pytest.approx(expected.pop("bootstrap"))
        assert made == pytest.approx(expected)
    assert bootstrap_interval(gains[0][0], groups_N, 7) is not None
    assert paired_summaries(gains, np.zeros(120, int), 7)[0]["bootstrap"] is None
