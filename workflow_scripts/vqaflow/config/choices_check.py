"""Checks of keys against the number of choices: are there so many orders, and has the prompt enough letters?"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqaflow.config.members import FOREIGN, TUNED, members_of

MOST_ORDERS = 24  # of a row, in one pass; all orders of four choices


def choices_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Problems of orders, prompt.letters, train.choice_orders and its search, worded as `KEY: WHAT. CURE.`"""
    choices, told = len(config["data"]["columns"]["choices"]), set()
    for member in members_of(config).values():
        entry = config["members"][member.name] or {}
        if member.kind == FOREIGN:
            continue
        found = {
            "orders": orders_problem("orders", member.orders, choices),
            "prompt": letters_problem(member.prompt.get("letters"), choices),
            "train": fewer_problem("train.choice_orders", member.train["choice_orders"], choices)
            if member.kind == TUNED
            else None,
        }
        for section, problem in found.items():
            if problem:
                told.add(f"members.{member.name}.{problem}" if section in entry else problem)
    if config["hpo"]["enabled"]:
        searched = config["hpo"]["space"].get("choice_orders", {})
        values = [value for values in searched.values() if isinstance(values, list) for value in values]
        most = max((value for value in values if isinstance(value, int)), default=1)
        if problem := fewer_problem("hpo.space.choice_orders", most, choices):
            told.add(problem)
    yield from sorted(told)


def orders_problem(key: str, spec: str | int, choices: int) -> str | None:
    """What is wrong with config's `orders` for so many choices, if anything."""
    if spec in ("identity", "cyclic"):
        return None
    if spec == "all":
        count = math.factorial(choices)
        if count <= MOST_ORDERS:
            return None
        return (
            f"{key}: all: {choices} choices have {count:,} orders, and at most {MOST_ORDERS} are scored. Use cyclic "
            f"({choices} orders) or a number up to {MOST_ORDERS}."
        )
    if not isinstance(spec, int) or isinstance(spec, bool) or not 1 <= spec <= MOST_ORDERS:
        return f"{key}: {spec!r} is unknown. Use identity, cyclic, all or a number from 1 to {MOST_ORDERS}."
    return fewer_problem(key, spec, choices)


def fewer_problem(key: str, count: int, choices: int) -> str | None:
    """What is wrong with asking for `count` orders of so many choices, if anything."""
    most = math.factorial(choices)
    if count <= most:
        return None
    return f"{key}: {count}: the tables' {choices} choices have only {most} orders. Use a number up to {most}."


def letters_problem(letters: Sequence[Any] | None, choices: int) -> str | None:
    """What is wrong with config's prompt.letters for so many choices, if anything."""
    if letters is None or len(letters) >= choices:
        return None
    return (
        f"prompt.letters: has {len(letters)} letters, but the tables have {choices} choices. Add the missing ones, or "
        "set it to null for a, b, c, …"
    )
