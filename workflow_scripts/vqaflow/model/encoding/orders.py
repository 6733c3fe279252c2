"""Orders of a row's four choices: which are shown, and how their logits are mapped back to the original letters.

An order is a four-letter string: ``"bcda"`` shows the row's choice b at position a, c at b, d at c and a at d.
"""

import itertools
import random
from collections.abc import Sequence

from vqaflow.artifacts.columns import LETTERS
from vqaflow.runtime.errors import UserError

IDENTITY = "".join(LETTERS)


def cyclic_shifts(order: str) -> list[str]:
    """The four rotations of `order`; over them each choice visits each position once."""
    return [order[i:] + order[:i] for i in range(len(order))]


def all_orders() -> list[str]:
    """All 24 orders: the rotations of abcd first, then those of the other five cycles."""
    starts = [IDENTITY[0] + "".join(rest) for rest in itertools.permutations(IDENTITY[1:])]
    return [order for start in starts for order in cyclic_shifts(start)]


def scoring_orders(spec: str | int) -> list[str]:
    """The orders that config's `orders` names: identity, cyclic (4), all (24), or for a number n the first n of all."""
    if isinstance(spec, int) and not isinstance(spec, bool) and 1 <= spec <= 24:
        return all_orders()[:spec]
    named = {"identity": [IDENTITY], "cyclic": cyclic_shifts(IDENTITY), "all": all_orders()}
    if spec not in named:
        raise UserError(f"config orders: {spec!r} is unknown. Use identity, cyclic, all or a number from 1 to 24.")
    return named[spec]


def training_orders(count: int, rng: random.Random) -> list[str]:
    """`count` distinct orders drawn for one row and epoch.

    They are rotations of a random order (then of further ones): up to four of them show each choice at as many
    different positions. A single order is random too: a fixed one would teach the position prior.
    """
    assert 1 <= count <= 24, f"choice orders: {count}"
    cycles = ["".join(rest) for rest in itertools.permutations(IDENTITY[1:])]
    rng.shuffle(cycles)
    drawn: list[str] = []
    for rest in cycles:
        rotations = cyclic_shifts(IDENTITY[0] + rest)
        rng.shuffle(rotations)
        drawn += rotations
        if len(drawn) >= count:
            break
    return drawn[:count]


def shown(choices: Sequence[str], order: str) -> list[str]:
    """The choice texts in the order in which they are shown at positions a, b, c, d."""
    return [choices[LETTERS.index(letter)] for letter in order]


def position_of(answer: str, order: str) -> int:
    """The position (0 to 3) at which `order` shows the choice with the original letter `answer`."""
    return order.index(answer)


def inverse(order: str) -> list[int]:
    """For each original letter the position that shows it: ``logits_at_positions[inverse(order)]`` undoes an order."""
    return [order.index(letter) for letter in LETTERS]
