"""Several runs of a benchmark as one: the run in the middle of each row, and how far the others lie from it."""

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import median_low
from typing import Any

Row = Mapping[str, Any]
LABELS = ("recipe", "what", "part", "batch", "orders", "vision", "devices", "rows a step")
SPREAD = ("s/row", "rows/s", "peak GiB")  # what a spread is told of, where a row has it


def run_times(runs: int, measure: Callable[[], Sequence[Row]]) -> list[dict[str, Any]]:
    """Call `measure` so many times and merge its rows; a row that one run lacks is merged from the others.

    A row is that of the run whose time is the median (the faster one of two in the middle), so that its figures belong
    together; `spread` says of each figure how many runs gave it, their least, median and greatest value.
    """
    found = []
    for number in range(runs):
        if runs > 1:
            print(f"run {number + 1} of {runs}", flush=True)
        found.append(list(measure()))
    alike: dict[tuple[str, ...], list[Row]] = {}
    for rows in found:
        for row in rows:
            alike.setdefault(label(row), []).append(row)
    return [merged(rows) if runs > 1 else dict(rows[0]) for rows in alike.values()]


def label(row: Row) -> tuple[str, ...]:
    """What a row is of; how many layers keep their products depends on the memory that a run finds."""
    return tuple(re.sub(r"\d+ layers", "layers", str(row.get(key))) for key in LABELS)


def merged(rows: Sequence[Row], time: str = "s/row", spread: Sequence[str] = SPREAD) -> dict[str, Any]:
    """The row of the run in the middle by `time`, with its spread; one that failed counts only where all failed."""
    right = [row for row in rows if row.get(time) is not None]
    if not right:
        return dict(rows[0])
    middle = median_low([row[time] for row in right])
    chosen = dict(next(row for row in right if row[time] == middle))
    told = {name: spread_of([row[name] for row in right if name in row]) for name in spread if name in chosen}
    return chosen | {"spread": {"runs": len(right)} | told}


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """Their least, median (the lower of two) and greatest value."""
    return {"min": min(values), "median": median_low(values), "max": max(values)}
