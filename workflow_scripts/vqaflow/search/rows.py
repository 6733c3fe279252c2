"""The rows of a search: whole groups, in the proportions of all rows."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqaflow.artifacts.rows import Row, contents
from vqaflow.runtime.digests import value_digest


@dataclass(frozen=True)
class Fold:
    """The rows that a trial trains on for one fold, out of `available`, and those that it is measured on."""

    number: int
    rows: list[Row]
    available: int
    held_out: list[Row]

    def described(self) -> dict[str, int]:
        """What the search saw of this fold, as counts."""
        return {
            "fold": self.number,
            "training_rows": len(self.rows),
            "of": self.available,
            "held_out_rows": len(self.held_out),
        }

    def digest(self) -> str:
        """Digest of the content of the rows, and of which of them a trial may not mirror."""
        return value_digest([contents(self.rows), contents(self.held_out), [row.flip_unsafe for row in self.rows]])


def stratified_subset(rows: Sequence[Row], groups: Mapping[str, int], share: float, seed: int) -> list[Row]:
    """About `share` of `rows`, whole groups at a time, with question types and answers in the proportions of all rows.

    A group belongs to the stratum of its first row's (question type, answer). Groups are shuffled within each stratum
    and ranked by their relative place in it: taken in that order, every stratum gives its share.
    """
    members: dict[int, list[Row]] = {}
    for row in rows:
        members.setdefault(groups[row.id], []).append(row)
    strata: dict[tuple[str, str], list[int]] = {}
    for group, inside in members.items():
        strata.setdefault((inside[0].qtype, inside[0].answer), []).append(group)
    rng = random.Random(f"{seed}/subset")
    ranked: list[tuple[float, float, int]] = []
    for stratum in sorted(strata):
        drawn = rng.sample(strata[stratum], len(strata[stratum]))
        ranked += [((place + 0.5) / len(drawn), rng.random(), group) for place, group in enumerate(drawn)]
    kept: set[int] = set()
    count = 0
    for _, _, group in sorted(ranked):
        if count >= round(share * len(rows)):
            break
        kept.add(group)
        count += len(members[group])
    return [row for row in rows if groups[row.id] in kept]
