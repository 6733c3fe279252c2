"""The parts of a member: what its files and folders are named after, behind ``fold``.

- ``0``, ``1``, …: an adapter that was trained without this fold; it scores the fold's rows and all test rows
- ``all``: an adapter that was trained on all rows; it scores test rows only
- ``base``: the untuned base, which scores all rows
- ``file``: probabilities that someone else has made

Where a member has several seeds, each has its own adapters: ``0-seed7``, ``all-seed7``.
"""

import re

ALL, BASE, FILE = "all", "base", "file"
ORIGINAL = "original"  # the view of images as they are: the main one, unless train.view names another
PART = rf"(?:\d+|{ALL})(?:-seed\d+)?|{BASE}"  # of an adapter or a base, as a regular expression


def trained_part(fold: int | str, seed: int | None = None) -> str:
    """The name of the part without `fold` (or `ALL`) and from `seed`, if the member has several."""
    return f"{fold}" if seed is None else f"{fold}-seed{seed}"


def without_seed(part: str) -> str:
    """The part's name with no seed: parts that differ in the seed alone are pooled under it."""
    return part.partition("-")[0]


def fold_of(part: str) -> int | None:
    """The fold that a part was trained without; None if it was trained on all rows or not at all."""
    name = without_seed(part)
    return int(name) if name.isdecimal() else None


def seed_of(part: str) -> int | None:
    """The seed in a part's name."""
    found = re.search(r"-seed(\d+)$", part)
    return int(found[1]) if found else None


def part_order(part: str) -> tuple[bool, int, int]:
    """A key that sorts parts by fold and seed, and those of no fold behind them."""
    fold = fold_of(part)
    return fold is None, fold or 0, seed_of(part) or 0
