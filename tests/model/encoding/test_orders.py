"""Orders and their inverses: a wrong map here would score every choice as another one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqaflow.artifacts.columns import LETTERS
from vqaflow.model.encoding.orders import (
    all_orders,
    cyclic_shifts,
    inverse,
    position_of,
    scoring_orders,
    shown,
    training_orders,
)
from vqaflow.runtime.errors import UserError

ORDERS = st.permutations(LETTERS).map("".join)


@given(ORDERS)
def test_inverse_undoes_an_order(order: str) -> None:
    """A score that follows its text ends at its original letter."""
    texts = ["w", "x", "y", "z"]
    at_positions = shown(texts, order)
    assert [at_positions[i] for i in inverse(order)] == texts
    for letter, text in zip(LETTERS, texts, strict=True):
        assert at_positions[position_of(letter, order)] == text


def test_all_orders_are_24_different_ones_with_the_cyclic_ones_first() -> None:
    """`orders: 4` and `orders: cyclic` are the same."""
    assert len(set(all_orders())) == 24
    assert scoring_orders(4) == scoring_orders("cyclic") == cyclic_shifts("abcd")
    assert scoring_orders("identity") == ["abcd"]


@given(st.integers(1, 24), st.integers())
def test_training_orders_are_distinct_seeded_and_balanced(count: int, seed: int) -> None:
    """Up to four orders show each choice at as many positions; the same seed draws the same."""
    drawn = training_orders(count, random.Random(seed))
    assert drawn == training_orders(count, random.Random(seed))
    assert len(set(drawn)) == count
    if count <= 4:
        assert all(len({order.index(letter) for order in drawn}) == count for letter in LETTERS)


@pytest.mark.parametrize("spec", [0, 25, "cycle", True])
def test_unknown_orders_are_refused(spec) -> None:
    """A typo in config does not silently score one order."""
    with pytest.raises(UserError, match="identity, cyclic, all"):
        scoring_orders(spec)
