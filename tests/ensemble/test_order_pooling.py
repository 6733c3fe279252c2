"""Pooling over choice orders: a letter's probability must depend on what was shown, not on where."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from results_world import CYCLIC, make_logits
from vqaflow.artifacts.score_files import Logits
from vqaflow.model.encoding.orders import all_orders, inverse
from vqaflow.scoring.order_pooling import letter_sets, log_of_choices, log_softmax, pool_orders, position_prior

FINITE = st.floats(-30, 30, width=32)


def logits_of(logits_NKC, orders=CYCLIC, present=None):
    present = np.ones(len(logits_NKC), bool) if present is None else present
    return Logits(tuple(orders), present, logits_NKC.astype(np.float32))


@pytest.mark.parametrize("how", ["geometric", "arithmetic"])
def test_orders_are_pooled_as_a_plain_loop_does_it(how):
    """The two means differ: an unsure order must count less in one of them than in the other."""
    logits_NKC = np.random.default_rng(0).normal(0, 3, (6, 4, 4)).astype(np.float32)
    pooled_NC = pool_orders(logits_of(logits_NKC), how)
    for row in range(6):
        total = [0.0] * 4
        for order in range(4):
            weights = [math.exp(float(x)) for x in logits_NKC[row, order]]
            p = [w / sum(weights) for w in weights]
            total = [t + (math.log(x) if how == "geometric" else x) for t, x in zip(total, p, strict=True)]
        mean = [math.exp(t / 4) if how == "geometric" else t / 4 for t in total]
        np.testing.assert_allclose(np.exp(pooled_NC[row]), [m / sum(mean) for m in mean], atol=1e-12)


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


@pytest.mark.parametrize("orders", [CYCLIC, ["abcd", "badc", "dabc"], all_orders("abcd")])
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


@pytest.mark.parametrize("orders", [["abcd", "badc"], ["abcd", "cbad"]])
def test_orders_that_leave_a_position_open_give_no_prior(orders):
    """Two positions are compared there, and the others are not: their part would be made up."""
    rng = np.random.default_rng(0)
    assert position_prior(logits_of(make_logits(rng.integers(0, 4, 90), 1, rng, orders=orders), orders)) is None


def test_rows_are_told_apart_by_the_choices_that_they_have():
    """A row that lacks d, pooled as one that has it, would be -inf or NaN in all choices."""
    logp_RKC = np.zeros((3, 2, 4))
    logp_RKC[1, :, 3] = -np.inf
    found = [(there_C.tolist(), rows.tolist()) for there_C, rows in letter_sets(logp_RKC)]
    assert sorted(found) == [([True, True, True, False], [1]), ([True, True, True, True], [0, 2])]
    assert [rows.tolist() for _, rows in letter_sets(logp_RKC[[0, 2]])] == [[0, 1]]


def test_a_choice_that_a_row_lacks_has_no_finite_logarithm():
    """And a certain one has the logarithm 0."""
    assert log_of_choices(np.array([0.0, 1.0])).tolist() == [-math.inf, 0.0]


def test_one_order_cannot_tell_prior_from_content():
    """A made-up prior would be worse than none."""
    rng = np.random.default_rng(0)
    assert position_prior(logits_of(make_logits(rng.integers(0, 4, 9), 1, rng, orders=["abcd"]), ["abcd"])) is None
