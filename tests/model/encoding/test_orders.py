"""Orders and their inverses: a wrong map here would score every choice as another one."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.model.encoding.orders import (
    all_orders,
    cyclic_shifts,
    first_orders,
    inverse,
    own_order,
    places_of,
    scoring_orders,
    shown,
    training_orders,
)
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]

ORDERS = st.permutations(LETTERS).map("".join)


@given(ORDERS)
def test_inverse_undoes_an_order(order: str) -> None:
    """A score that follows its text ends at its original letter."""
    texts = ["w", "x", "y", "z"]
    at_positions = shown(texts, order)
    assert [at_positions[i] for i in inverse(order)] == texts
    for letter, text in zip(LETTERS, texts, strict=True):
        assert at_positions[order.index(letter)] == text


def test_all_orders_are_24_different_ones_with_the_cyclic_ones_first() -> None:
    """`orders: 4` and `orders: cyclic` are the same."""
    assert len(set(all_orders("abcd"))) == 24
    assert scoring_orders(4, "abcd") == scoring_orders("cyclic", "abcd") == cyclic_shifts("abcd")
    assert scoring_orders("identity", "abcd") == ["abcd"]


@given(st.integers(1, 24), st.integers())
def test_training_orders_are_distinct_seeded_and_balanced(count: int, seed: int) -> None:
    """Up to four orders show each choice at as many positions; the same seed draws the same."""
    drawn = training_orders(count, random.Random(seed), "abcd")
    assert drawn == training_orders(count, random.Random(seed), "abcd")
    assert len(set(drawn)) == count
    if count <= 4:
        assert all(len({order.index(letter) for order in drawn}) == count for letter in LETTERS)


@pytest.mark.parametrize(("letters", "orders", "expected"), [("abcd", 24, 100), ("abcdef", 720, 4)])
def test_a_training_order_is_any_order_equally_often(letters: str, orders: int, expected: int) -> None:
    """Rotations or cycles in a fixed sequence would show a choice at one place, and teach where answers stand."""
    rng = random.Random(0)
    drawn = [training_orders(1, rng, letters)[0] for _ in range(orders * expected)]
    for place in range(len(letters)):
        shown_there = Counter(order[place] for order in drawn)
        assert all(abs(shown_there[letter] / len(drawn) - 1 / len(letters)) < 0.05 for letter in letters)
    assert len(set(drawn)) > 0.9 * orders
    assert max(Counter(drawn).values()) < expected + 6 * math.sqrt(expected)


@pytest.mark.parametrize("spec", [0, 25, "cycle", True])
def test_unknown_orders_are_refused(spec) -> None:
    """A typo in config does not silently score one order."""
    with pytest.raises(UserError, match="identity, cyclic, all"):
        scoring_orders(spec, "abcd")


@pytest.mark.parametrize("count", range(2, 11))
def test_orders_of_any_number_of_choices_are_permutations_and_undone(count: int) -> None:
    """An order that repeats or loses a choice would leave one without a logit."""
    letters = "abcdefghij"[:count]
    specs = ["identity", "cyclic", min(24, math.factorial(count))] + (["all"] if count <= 4 else [])
    for spec in specs:
        orders = scoring_orders(spec, letters)
        assert len(set(orders)) == len(orders) and all(sorted(order) == list(letters) for order in orders)
        for order in orders:
            assert [order[place] for place in inverse(order)] == list(letters)
    assert scoring_orders("cyclic", letters) == first_orders(letters, count)
    assert len(scoring_orders("cyclic", letters)) == count


@pytest.mark.parametrize(
    ("spec", "letters", "message"),
    [
        ("all", "abcde", "5 choices have 120 orders, and at most 24 are scored. Use cyclic (5 orders)"),
        ("all", "abcdefghij", "10 choices have 3,628,800 orders"),
        (7, "abc", "config orders: 7: the tables' 3 choices have only 6 orders. Use a number up to 6."),
        (3, "ab", "the tables' 2 choices have only 2 orders"),
    ],
)
def test_more_orders_than_there_are_or_can_be_scored_are_refused(spec, letters, message) -> None:
    """Fewer orders than the configuration names would be scored without a word, or millions of them."""
    with pytest.raises(UserError) as error:
        scoring_orders(spec, letters)
    assert message in str(error.value)


def test_an_order_shows_only_the_choices_that_a_row_has() -> None:
    """Else a position would be shown empty, or the letters behind it would stand for other choices."""
    assert own_order("bcda", "abd") == "bda"
    assert places_of("bda", "abcd") == [2, 0, -1, 1]


@pytest.mark.parametrize("letters", ["ab", "abd", "abcdefg", "abcdefghij"])
@pytest.mark.parametrize("count", [1, 2, 5, 24])
def test_training_orders_of_a_row_are_of_its_own_letters(count: int, letters: str) -> None:
    """All rows of a pass have as many orders; a row with few choices repeats its own, and none more often by far."""
    drawn = training_orders(count, random.Random(1), letters)
    assert len(drawn) == count and all(sorted(order) == list(letters) for order in drawn)
    possible = min(count, math.factorial(len(letters)))
    assert len(set(drawn)) == possible
    times = [drawn.count(order) for order in set(drawn)]
    assert max(times) - min(times) <= 1
