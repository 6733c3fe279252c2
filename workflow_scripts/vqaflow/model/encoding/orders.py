"""Orders of a row's choices: which are shown, and how their logits are mapped back to the original letters.

An order is a string of letters: ``"bcda"`` shows the row's choice b at position a, c at b, d at c and a at d. A row
that lacks a choice is shown without it: ``"bcda"`` of a row with the letters ``"abd"`` shows b, d, a.
"""

import itertools
import math
import random
from collections.abc import Iterator, Sequence

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.config.choices_check import MOST_ORDERS, fewer_problem, orders_problem
from vqaflow.runtime.errors import UserError


def cyclic_shifts(order: str) -> list[str]:
    """The rotations of `order`; over them each choice visits each position once."""
    return [order[i:] + order[:i] for i in range(len(order))]


def each_order(letters: Sequence[str]) -> Iterator[str]:
    """The orders of `letters`, one after the other: the rotations of abc… first, then those of the other cycles."""
    first, *others = letters
    for rest in itertools.permutations(others):
        yield from cyclic_shifts(first + "".join(rest))


def first_orders(letters: Sequence[str], count: int) -> list[str]:
    """The first `count` orders of `each_order`, or all if there are fewer."""
    return list(itertools.islice(each_order(letters), count))


def all_orders(letters: Sequence[str]) -> list[str]:
    """All n! orders of `each_order`."""
    return list(each_order(letters))


def scoring_orders(spec: str | int, letters: Sequence[str]) -> list[str]:
    """The orders of a table's `letters` that config's `orders` names.

    They are: identity, cyclic (as many as there are letters), all, or for a number n the first n of `each_order`.
    Raises UserError if there are fewer orders than asked for, or more than `MOST_ORDERS` are.
    """
    if problem := orders_problem("orders", spec, len(letters)):
        raise UserError(f"config {problem}")
    if spec == "identity":
        return ["".join(letters)]
    if spec == "cyclic":
        return cyclic_shifts("".join(letters))
    return all_orders(letters) if spec == "all" else first_orders(letters, int(spec))


def require_orders(key: str, count: int, letters: Sequence[str]) -> None:
    """Raise UserError if `letters` have fewer than `count` orders, the value of config's `key`."""
    if problem := fewer_problem(key, count, len(letters)):
        raise UserError(f"config {problem}")


def training_orders(count: int, rng: random.Random, letters: Sequence[str]) -> list[str]:
    """`count` orders of a row's own `letters`, drawn for one row and epoch; distinct ones if there are enough.

    They are rotations of a random order (then of further ones): up to as many as there are letters show each choice at
    as many different positions. A single order is random too: a fixed one would teach the position prior. A row with
    few choices repeats its orders.
    """
    assert 1 <= count <= MOST_ORDERS, f"choice orders: {count}"
    drawn: list[str] = []
    for rest in _shuffled_cycles(letters[1:], rng):
        rotations = cyclic_shifts(letters[0] + rest)
        rng.shuffle(rotations)
        drawn += rotations
        if len(drawn) >= count:
            break
    return list(itertools.islice(itertools.cycle(drawn), count))


def _shuffled_cycles(others: Sequence[str], rng: random.Random) -> Iterator[str]:
    """The permutations of all letters but the first, in random order: all of them, or, of many, different ones."""
    if math.factorial(len(others)) <= MOST_ORDERS:
        cycles = ["".join(rest) for rest in itertools.permutations(others)]
        rng.shuffle(cycles)
        yield from cycles
        return
    known: set[str] = set()
    while True:
        rest = "".join(rng.sample(others, len(others)))
        if rest not in known:
            known.add(rest)
            yield rest


def own_order(order: str, letters: str) -> str:
    """`order` without the choices that a row with these `letters` lacks."""
    return "".join(letter for letter in order if letter in letters)


def shown(choices: Sequence[str], order: str) -> list[str]:
    """The choice texts in the order in which they are shown at positions a, b, c, …"""
    return [choices[ALL_LETTERS.index(letter)] for letter in order]


def inverse(order: str) -> list[int]:
    """For each original letter the position that shows it: ``logits_at_positions[inverse(order)]`` undoes an order.

    `order` is one of all letters of a table.
    """
    return places_of(order, ALL_LETTERS[: len(order)])


def places_of(order: str, letters: Sequence[str]) -> list[int]:
    """For each of `letters` the position at which `order` shows it; -1 for a choice that it does not show."""
    return [order.find(letter) for letter in letters]
