"""Pooling: a letter's probability must depend on what was shown, not on where, and absent views must not count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from results_world import CYCLIC, make_logits
from vqaflow.artifacts.score_files import Logits
from vqaflow.ensemble.pooling import POOLS, fit_weights, mean_pool, pool_folds, weighted_pool
from vqaflow.model.encoding.orders import all_orders, inverse
from vqaflow.scoring.order_pooling import log_softmax, pool_orders, position_prior

FINITE = st.floats(-30, 30, width=32)


def logits_of(logits_NKC, orders=CYCLIC, present=None):
    present = np.ones(len(logits_NKC), bool) if present is None else present
    return Logits(tuple(orders), present, logits_NKC.astype(np.float32))


def made_up_views(rows=200, strengths=(2.0, 1.0), seed=0, absent=0.3):
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 4, rows)
    views = [pool_orders(logits_of(make_logits(answers, s, rng)), "geometric") for s in strengths]
    logp_NVC = np.stack(views, axis=1)
    for view in range(1, len(strengths)):
        logp_NVC[rng.random(rows) < absent, view] = np.nan
    return logp_NVC, answers


@given(
    arrays(np.float32, (5, 4, 4), elements=FINITE),
    st.permutations(range(4)),
    st.sampled_from(["geometric", "arithmetic"]),
)
def test_order_pooling_follows_the_choices(logits_NKC, shuffle, how):
    """Renaming the choices renames the result: no letter is favoured."""
    pooled = pool_orders(logits_of(logits_NKC), how)
    renamed = pool_orders(logits_of(logits_NKC[:, :, shuffle]), how)
    np.testing.assert_allclose(renamed, pooled[:, shuffle], atol=1e-9)
    np.testing.assert_allclose(np.exp(pooled).sum(1), 1, atol=1e-12)


@given(arrays(np.float32, (5, 4, 4), elements=FINITE), st.permutations(range(4)))
def test_order_pooling_does_not_depend_on_the_sequence_of_orders(logits_NKC, shuffle):
    pooled = pool_orders(logits_of(logits_NKC), "geometric")
    again = pool_orders(logits_of(logits_NKC[:, shuffle], [CYCLIC[i] for i in shuffle]), "geometric")
    np.testing.assert_allclose(pooled, again, atol=1e-9)


@given(arrays(np.float64, 4, elements=st.floats(-5, 5)))
def test_geometric_mean_over_cyclic_orders_cancels_any_position_prior(prior):
    """A model that loves position a must not move an answer (PriDe's model of bias)."""
    content_NC = np.random.default_rng(0).normal(size=(6, 4))
    places_KC = np.array([inverse(order) for order in CYCLIC])
    pooled = pool_orders(logits_of(content_NC[:, None] + prior[places_KC]), "geometric")
    np.testing.assert_allclose(pooled, log_softmax(content_NC), atol=1e-5)


@pytest.mark.parametrize("orders", [CYCLIC, ["abcd", "badc", "dabc"], all_orders()])
def test_position_prior_is_found_without_labels(orders):
    rng = np.random.default_rng(1)
    prior = np.array([1.0, 0.2, -0.4, -0.8])
    logits = logits_of(make_logits(rng.integers(0, 4, 400), 1.0, rng, prior, orders), orders)
    np.testing.assert_allclose(position_prior(logits), prior, atol=0.05)


def test_prior_removal_helps_where_orders_are_few():
    """With two orders the geometric mean keeps half of the prior; its removal takes the rest."""
    rng, orders = np.random.default_rng(2), ["abcd", "bcda", "acbd"]
    answers = rng.integers(0, 4, 2000)
    logits = logits_of(make_logits(answers, 1.5, rng, (3, 0, 0, -3), orders), orders)
    hits = {
        how: (pool_orders(logits, how, position_prior(logits)).argmax(1) == answers).mean()
        for how in ("geometric", "prior")
    }
    assert hits["prior"] > hits["geometric"] + 0.05


def test_one_order_cannot_tell_prior_from_content():
    """A made-up prior would be worse than none."""
    rng = np.random.default_rng(0)
    assert position_prior(logits_of(make_logits(rng.integers(0, 4, 9), 1, rng, orders=["abcd"]), ["abcd"])) is None


@pytest.mark.parametrize("name", POOLS)
def test_pools_give_probabilities(name):
    logp_NVC, answers = made_up_views()
    pool = POOLS[name]
    probabilities = pool.apply(logp_NVC, pool.fit(logp_NVC, answers))
    assert probabilities.shape == (200, 4) and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(POOLS)), st.permutations(range(4)), st.integers(0, 9))
def test_pools_follow_the_choices(name, shuffle, seed):
    """Renaming the letters everywhere, answers too, renames what a learned pool predicts."""
    logp_NVC, answers = made_up_views(rows=60, seed=seed)
    pool = POOLS[name]
    plain = pool.apply(logp_NVC, pool.fit(logp_NVC, answers))
    renamed_NVC, renamed = logp_NVC[:, :, shuffle], np.argsort(shuffle)[answers]
    again = pool.apply(renamed_NVC, pool.fit(renamed_NVC, renamed))
    np.testing.assert_allclose(again, plain[:, shuffle], atol=2e-3)


@pytest.mark.parametrize("name", ["mean", "log_mean", "weighted", "vote"])
def test_an_absent_view_is_not_averaged(name):
    """A row without a flipped view keeps its only view's answer, as sure as that is."""
    logp_NVC, answers = made_up_views()
    pool = POOLS[name]
    params = pool.fit(logp_NVC, answers)
    absent = np.isnan(logp_NVC[:, 1, 0])
    probabilities = pool.apply(logp_NVC, params)[absent]
    if name == "vote":
        assert (probabilities.argmax(1) == logp_NVC[absent, 0].argmax(1)).all()
    else:
        np.testing.assert_allclose(probabilities, np.exp(logp_NVC[absent, 0]), atol=1e-12)


def test_weights_prefer_the_better_view_and_stay_on_the_simplex():
    logp_NVC, answers = made_up_views(rows=1000, strengths=(3.0, 0.0), absent=0.0)
    weights = fit_weights(logp_NVC, answers)
    assert weights[0] > 0.85 and weights.sum() == pytest.approx(1) and (weights > 0).all()


def test_few_rows_leave_weights_nearly_equal():
    """Three rows are no reason to drop a view."""
    logp_NVC, answers = made_up_views(rows=3, strengths=(3.0, 0.0), absent=0.0)
    assert abs(fit_weights(logp_NVC, answers)[0] - 0.5) < 0.15


def test_weights_are_the_best_ones():
    """The optimiser's gradient is right: no small step on the simplex does better."""
    logp_NVC, answers = made_up_views(rows=400, strengths=(2.0, 1.0, 0.5))
    weights = fit_weights(logp_NVC, answers)

    def loss(candidate):
        hit = weighted_pool(logp_NVC, candidate)[np.arange(400), answers]
        return -np.log(hit).sum() - 20 * np.log(candidate).mean()

    for step in ([0.01, -0.01, 0], [0, 0.01, -0.01], [-0.01, 0, 0.01]):
        assert loss(weights) < loss(weights + step)


def test_stacking_is_no_worse_than_its_starting_point():
    logp_NVC, answers = made_up_views(rows=600, strengths=(2.5, -2.0), absent=0.0)
    pool = POOLS["stacking"]
    stacked = pool.apply(logp_NVC, pool.fit(logp_NVC, answers))
    assert (stacked.argmax(1) == answers).mean() > (mean_pool(logp_NVC).argmax(1) == answers).mean() + 0.1


def test_a_vote_counts_hard_votes():
    """One sure view loses against two unsure ones: that is why it is not an average of probabilities."""
    sure, unsure = [0.97, 0.01, 0.01, 0.01], [0.2, 0.4, 0.2, 0.2]
    logp_NVC = np.log(np.array([[sure, unsure, unsure]]))
    assert POOLS["vote"].apply(logp_NVC, np.ones(3)).argmax() == 1
    assert mean_pool(logp_NVC).argmax() == 0


def test_a_tied_vote_goes_to_the_surer_side():
    """Not to the letter that comes first in the alphabet."""
    logp_NVC = np.log(np.array([[[0.4, 0.2, 0.2, 0.2], [0.01, 0.01, 0.97, 0.01]]]))
    assert POOLS["vote"].apply(logp_NVC, np.ones(2)).argmax() == 2


def test_folds_are_averaged():
    first, second = np.array([[0.7, 0.1, 0.1, 0.1]]), np.array([[0.1, 0.7, 0.1, 0.1]])
    np.testing.assert_allclose(pool_folds([first, second], POOLS["mean"]), (first + second) / 2)
    geometric = np.sqrt(first * second)
    np.testing.assert_allclose(pool_folds([first, second], POOLS["log_mean"]), geometric / geometric.sum())
