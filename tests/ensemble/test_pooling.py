"""Pooling over members and views: each formula against plain loops, and absent sources must not count."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqaflow.config.recipe_names import LEARNING, POOL_NAMES
from vqaflow.ensemble.pooling import (
    POOLS,
    STACKING_PRIOR_ROWS,
    WEIGHT_PRIOR_ROWS,
    Means,
    average,
    default_weights,
    fit_stacking,
    fit_votes,
    fit_weights,
    learns,
    mean_pool,
    stacking_pool,
    weighted_pool,
)
from vqaflow.scoring.order_pooling import log_softmax

ONE = np.array([0, 0])  # one member with two views
SEVERAL = np.array([0, 0, 0, 1, 2, 2])  # members with three, one and two views


def made_up(rows=200, strengths=(2.0, 1.0), seed=0, absent=0.3, choices=4):
    """Log-probabilities; all sources but the first and the fourth lack some rows."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, choices, rows)
    logits_NSC = rng.normal(size=(rows, len(strengths), choices))
    logits_NSC[np.arange(rows), :, answers] += strengths
    logp_NSC = log_softmax(logits_NSC)
    for source in set(range(len(strengths))) - {0, 3}:
        logp_NSC[rng.random(rows) < absent, source] = np.nan
    return logp_NSC, answers


def made_up_members(**more):
    """As `made_up`, with sources of three members; in some rows the third member is absent."""
    logp_NSC, answers = made_up(strengths=(2.0, 1.0, 0.5, 1.5, 1.0, 0.0), **more)
    logp_NSC[:9, 4:] = np.nan
    return logp_NSC, answers


def normal(weights):
    return [w / sum(weights) for w in weights]


def by_loops(name, logp_SC, member_S, params):
    """One row's pooled probabilities, in plain Python."""
    choices = range(logp_SC.shape[1])
    there = [s for s in range(len(member_S)) if not math.isnan(logp_SC[s, 0])]
    members = [[s for s in there if member_S[s] == m] for m in sorted(set(member_S))]
    members = [views for views in members if views]

    def mean(of):
        return [sum(sum(of(s, c) for s in views) / len(views) for views in members) / len(members) for c in choices]

    if name == "mean":
        return normal(mean(lambda s, c: math.exp(logp_SC[s, c])))
    if name == "log_mean":
        return normal([math.exp(x) for x in mean(lambda s, c: logp_SC[s, c])])
    if name == "weighted":
        total = [0.0 for _ in choices]
        for views in members:
            share = sum(params[s] for s in range(len(member_S)) if member_S[s] == member_S[views[0]])
            for s in views:
                weight = share * params[s] / sum(params[v] for v in views)
                total = [t + weight * math.exp(logp_SC[s, c]) for c, t in zip(choices, total, strict=True)]
        return normal(total)
    assert name == "vote"
    votes = [0.0 for _ in choices]
    for views in members:
        for s in views:
            votes[max(choices, key=lambda c: logp_SC[s, c])] += params[s] / len(views)
    ties = by_loops("mean", logp_SC, member_S, None)
    return normal([v / sum(votes) + 1e-6 * t for v, t in zip(votes, ties, strict=True)])


@pytest.mark.parametrize("choices", [2, 4, 7])
@pytest.mark.parametrize("name", ["mean", "log_mean", "weighted", "vote"])
@pytest.mark.parametrize("member_S", [np.zeros(6, int), SEVERAL, np.arange(6)], ids=["views", "mixed", "members"])
def test_a_pool_is_what_a_plain_loop_computes(name, member_S, choices):
    logp_NSC, answers = made_up_members(rows=40, choices=choices)
    pool = POOLS[name]
    params = pool.fit(logp_NSC, member_S, answers)
    pooled_NC = pool.apply(logp_NSC, member_S, params)
    expected = [by_loops(name, logp_SC, member_S, params) for logp_SC in logp_NSC]
    np.testing.assert_allclose(pooled_NC, expected, rtol=1e-12, atol=1e-15)


def test_one_members_views_are_pooled_as_ever():
    """A run without members keeps its numbers: the formulas of one member are those of its views."""
    logp_NSC, answers = made_up(strengths=(2.0, 1.0, 0.5))
    member_S = np.zeros(3, int)
    p_NSC, there_NS = np.exp(logp_NSC), ~np.isnan(logp_NSC[:, :, 0])
    np.testing.assert_allclose(mean_pool(logp_NSC, member_S), np.nanmean(p_NSC, axis=1), atol=1e-15)
    weights_S = fit_weights(logp_NSC, member_S, answers)
    weights_NS = there_NS * weights_S / (there_NS * weights_S).sum(1, keepdims=True)
    np.testing.assert_allclose(
        weighted_pool(logp_NSC, member_S, weights_S), np.nansum(weights_NS[..., None] * p_NSC, axis=1), atol=1e-14
    )
    right_NS = np.where(there_NS, logp_NSC.argmax(2) == answers[:, None], np.nan)
    np.testing.assert_allclose(fit_votes(logp_NSC, member_S, answers), np.nanmean(right_NS, axis=0), atol=1e-15)
    assert fit_stacking(logp_NSC, member_S, answers)["matrix"].shape == (12, 4)


def test_a_member_with_many_views_counts_as_one():
    """Else whoever scores more views of one model drowns the other models."""
    logp_NSC, _ = made_up(rows=1, strengths=(0.0, 0.0, 0.0, 0.0, 0.0), absent=0.0)
    pooled_NC = mean_pool(logp_NSC, np.array([0, 0, 0, 0, 1]))
    np.testing.assert_allclose(pooled_NC, (np.exp(logp_NSC[:, :4]).mean(1) + np.exp(logp_NSC[:, 4])) / 2)
    np.testing.assert_allclose(default_weights(np.array([0, 0, 0, 0, 1])), [1 / 8] * 4 + [1 / 2])


@pytest.mark.parametrize("pooling", ["mean", "log_mean"])
def test_leaving_sources_out_is_pooling_the_others(pooling):
    """The means of members are kept between candidates; a stale one would judge the wrong pool."""
    logp_NSC, _ = made_up_members()
    means = Means(logp_NSC if pooling == "log_mean" else np.exp(logp_NSC), SEVERAL)
    for kept in ([0, 1, 2, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 2, 4, 5], [3], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]):
        renumbered = np.unique(SEVERAL[kept], return_inverse=True)[1]
        expected = POOLS[pooling].apply(logp_NSC[:, kept], renumbered, None)
        np.testing.assert_array_equal(means.probabilities(kept, pooling), expected)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("member_S", [np.zeros(6, int), SEVERAL, np.arange(6)], ids=["views", "mixed", "members"])
def test_pools_give_probabilities(name, member_S):
    logp_NSC, answers = made_up_members()
    pool = POOLS[name]
    probabilities = pool.apply(logp_NSC, member_S, pool.fit(logp_NSC, member_S, answers))
    assert probabilities.shape == (200, 4) and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(POOLS)), st.permutations(range(4)), st.integers(0, 9))
def test_pools_follow_the_choices(name, shuffle, seed):
    """Renaming the letters everywhere, answers too, renames what a learned pool predicts."""
    logp_NSC, answers = made_up_members(rows=60, seed=seed)
    pool = POOLS[name]
    plain = pool.apply(logp_NSC, SEVERAL, pool.fit(logp_NSC, SEVERAL, answers))
    renamed_NSC, renamed = logp_NSC[:, :, shuffle], np.argsort(shuffle)[answers]
    again = pool.apply(renamed_NSC, SEVERAL, pool.fit(renamed_NSC, SEVERAL, renamed))
    np.testing.assert_allclose(again, plain[:, shuffle], atol=2e-3)


@pytest.mark.parametrize("name", ["mean", "log_mean", "weighted", "vote"])
@pytest.mark.parametrize("member_S", [ONE, np.array([0, 1])], ids=["view", "member"])
def test_an_absent_source_is_not_averaged(name, member_S):
    """A row without a flipped view keeps its only view's answer, as sure as that is."""
    logp_NSC, answers = made_up()
    pool = POOLS[name]
    params = pool.fit(logp_NSC, member_S, answers)
    absent = np.isnan(logp_NSC[:, 1, 0])
    probabilities = pool.apply(logp_NSC, member_S, params)[absent]
    if name == "vote":
        assert (probabilities.argmax(1) == logp_NSC[absent, 0].argmax(1)).all()
    else:
        np.testing.assert_allclose(probabilities, np.exp(logp_NSC[absent, 0]), atol=1e-12)


def test_stacking_takes_the_mean_of_the_others_for_an_absent_view():
    """Taken as zeros, absent views would make the row look like one where all choices are equally likely."""
    logp_NSC, answers = made_up(rows=500)
    params = fit_stacking(logp_NSC, ONE, answers)
    absent = np.isnan(logp_NSC[:, 1, 0])
    filled_NSC = logp_NSC.copy()
    filled_NSC[absent, 1] = filled_NSC[absent, 0]
    np.testing.assert_allclose(stacking_pool(logp_NSC, ONE, params), stacking_pool(filled_NSC, ONE, params), atol=1e-12)
    filled = fit_stacking(filled_NSC, ONE, answers)
    np.testing.assert_allclose(filled["matrix"], params["matrix"], atol=1e-6)


def test_where_all_sources_are_present_weights_at_the_start_are_the_default():
    """The pull must go to what the user gets without any learning."""
    logp_NSC, _ = made_up_members()
    pooled = weighted_pool(logp_NSC, SEVERAL, default_weights(SEVERAL))
    np.testing.assert_allclose(pooled, mean_pool(logp_NSC, SEVERAL), atol=1e-14)


def test_weights_prefer_the_better_view_and_stay_on_the_simplex():
    logp_NSC, answers = made_up(rows=1000, strengths=(3.0, 0.0), absent=0.0)
    weights = fit_weights(logp_NSC, ONE, answers)
    assert weights[0] > 0.85 and weights.sum() == pytest.approx(1) and (weights > 0).all()


@pytest.mark.parametrize("rows", [0, 3])
def test_few_rows_leave_weights_nearly_as_in_the_default(rows):
    """Three rows are no reason to drop a view; members with several views keep their share."""
    logp_NSC, answers = made_up_members(rows=rows)
    weights = fit_weights(logp_NSC, SEVERAL, answers)
    np.testing.assert_allclose(weights, default_weights(SEVERAL), atol=0.05 if rows else 1e-6)


@pytest.mark.parametrize("member_S", [np.zeros(6, int), SEVERAL, np.arange(6)], ids=["views", "mixed", "members"])
def test_weights_are_the_best_ones(member_S):
    """The optimiser's gradient is right, also in rows that lack sources: no small step on the simplex does better."""
    logp_NSC, answers = made_up_members(rows=400)
    weights, prior = fit_weights(logp_NSC, member_S, answers), default_weights(member_S)

    def loss(candidate):
        hit = weighted_pool(logp_NSC, member_S, candidate)[np.arange(400), answers]
        return -np.log(hit).sum() - WEIGHT_PRIOR_ROWS * prior @ np.log(candidate)

    for first in range(6):
        for second in set(range(6)) - {first}:
            step = np.zeros(6)
            step[first], step[second] = 1, -1
            assert loss(weights) < loss(weights + 0.02 * min(weights[second], 0.5) * step) + 1e-6


@pytest.mark.filterwarnings("error")
def test_a_row_that_a_member_lacks_leaves_its_weights_finite():
    """One row that is wholly absent in a file, and hopeless in the others, must not spoil the fit."""
    logp_NSC, answers = made_up(rows=30, absent=0.0)
    logp_NSC[0, 1] = np.nan
    logp_NSC[0, 0] = log_softmax(np.where(np.arange(4) == answers[0], -300.0, 0.0))
    weights = fit_weights(logp_NSC, np.arange(2), answers)
    without = fit_weights(logp_NSC[1:], np.arange(2), answers[1:])
    np.testing.assert_allclose(weights, without, atol=1e-3)


@pytest.mark.parametrize("member_S", [np.zeros(6, int), SEVERAL], ids=["views", "mixed"])
def test_stacking_coefficients_are_the_best_ones(member_S):
    """With the pull toward the log mean, of its full strength: no small step does better."""
    logp_NSC, answers = made_up_members(rows=300)
    params = fit_stacking(logp_NSC, member_S, answers)
    units = len(params["matrix"]) // 4
    start = np.tile(np.eye(4) / units, (units, 1))

    def loss(matrix, bias):
        right = stacking_pool(logp_NSC, member_S, {"matrix": matrix, "bias": bias})[np.arange(300), answers]
        return -np.log(right).sum() + STACKING_PRIOR_ROWS / 2 * (((matrix - start) ** 2).sum() + (bias**2).sum())

    best = loss(params["matrix"], params["bias"])
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix, bias = (0.03 * rng.normal(size=shape) for shape in (start.shape, 4))
        assert best < loss(params["matrix"] + matrix, params["bias"] + bias)


def test_without_rows_stacking_is_the_log_mean():
    """A pull to 0 would make a small table's pool unsure of everything."""
    logp_NSC, answers = made_up_members()
    params = fit_stacking(logp_NSC[:0], SEVERAL, answers[:0])
    whole = logp_NSC[~np.isnan(logp_NSC).any((1, 2))]
    np.testing.assert_allclose(
        stacking_pool(whole, SEVERAL, params), POOLS["log_mean"].apply(whole, SEVERAL, None), atol=1e-12
    )


def test_stacking_uses_a_view_that_is_reliably_wrong():
    logp_NSC, answers = made_up(rows=600, strengths=(2.5, -2.0), absent=0.0)
    stacked = stacking_pool(logp_NSC, ONE, fit_stacking(logp_NSC, ONE, answers))
    assert (stacked.argmax(1) == answers).mean() > (mean_pool(logp_NSC, ONE).argmax(1) == answers).mean() + 0.1


def test_stacking_hears_the_second_of_two_members():
    """Two members of one view each are the usual case: the better one may be the second."""
    logp_NSC, answers = made_up(rows=600, strengths=(0.0, 3.0), absent=0.0)
    two = np.array([0, 1])
    stacked = stacking_pool(logp_NSC, two, fit_stacking(logp_NSC, two, answers))
    second = (logp_NSC[:, 1].argmax(1) == answers).mean()
    assert (stacked.argmax(1) == answers).mean() > second - 0.02


def test_a_source_with_a_single_row_votes_with_its_accuracy():
    """A view for few rows, such as `read`, must not lose half of its vote."""
    logp_NSC = np.log(np.array([[[0.7, 0.3], [0.6, 0.4]], [[0.7, 0.3], [0.6, 0.4]]]))
    logp_NSC[1, 1] = np.nan
    assert fit_votes(logp_NSC, np.array([0, 0]), np.array([0, 1])).tolist() == [0.5, 1.0]


def test_a_vote_counts_hard_votes():
    """One sure view loses against two unsure ones: that is why it is not an average of probabilities."""
    sure, unsure = [0.97, 0.01, 0.01, 0.01], [0.2, 0.4, 0.2, 0.2]
    logp_NSC = np.log(np.array([[sure, unsure, unsure]]))
    assert POOLS["vote"].apply(logp_NSC, np.zeros(3, int), np.ones(3)).argmax() == 1
    assert mean_pool(logp_NSC, np.zeros(3, int)).argmax() == 0


def test_a_vote_has_the_weight_of_its_sources_accuracy():
    """Two poor sources must not outvote a good one."""
    logp_NSC, answers = made_up(rows=400, strengths=(4.0, -1.0, -1.0), absent=0.0)
    member_S = np.arange(3)
    weights = fit_votes(logp_NSC, member_S, answers)
    assert weights[0] > 0.9 and weights[1:].max() < 0.3
    assert (POOLS["vote"].apply(logp_NSC, member_S, weights).argmax(1) == answers).mean() > 0.9


def test_a_tied_vote_goes_to_the_surer_side():
    """Not to the letter that comes first in the alphabet."""
    logp_NSC = np.log(np.array([[[0.4, 0.2, 0.2, 0.2], [0.01, 0.01, 0.97, 0.01]]]))
    assert POOLS["vote"].apply(logp_NSC, ONE, np.ones(2)).argmax() == 2


def test_votes_without_weight_leave_the_mean():
    """Sources that were right in no row have no vote: the answer is that of the mean, not NaN."""
    logp_NSC = np.log(np.array([[[0.1, 0.6, 0.2, 0.1], [0.2, 0.5, 0.2, 0.1]]]))
    pooled_NC = POOLS["vote"].apply(logp_NSC, ONE, np.zeros(2))
    np.testing.assert_allclose(pooled_NC, mean_pool(logp_NSC, ONE), atol=1e-12)


def test_stacking_takes_what_a_unit_says_of_the_choices_against_each_other():
    """Each unit's features have the mean 0 in each row: a row's level, which means nothing, would move the answer."""
    logp_NSC, _ = made_up(rows=20, strengths=(2.0, 1.0), absent=0.0)
    sums_first = np.zeros((8, 4))
    sums_first[:, 0] = 1.0
    pooled_NC = stacking_pool(logp_NSC, ONE, {"matrix": sums_first, "bias": np.zeros(4)})
    np.testing.assert_allclose(pooled_NC, 0.25, atol=1e-9)


def test_only_pools_that_are_fitted_are_said_to_learn():
    """Learned on the rows that it is measured on, a pool looks better than it is: `learns` decides about that."""
    assert (
        [name for name in POOLS if learns(name)]
        == ["weighted", "stacking", "vote"]
        == sorted(LEARNING, key=list(POOLS).index)
    )


def test_folds_are_averaged():
    first, second = np.array([[0.7, 0.1, 0.1, 0.1]]), np.array([[0.1, 0.7, 0.1, 0.1]])
    np.testing.assert_allclose(average([first, second], "mean"), (first + second) / 2)
    geometric = np.sqrt(first * second)
    np.testing.assert_allclose(average([first, second], "log_mean"), geometric / geometric.sum())


def test_the_configuration_knows_the_same_pools():
    assert tuple(POOLS) == POOL_NAMES and set(LEARNING) < set(POOLS)
