"""A comparison as text for the terminal."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqaflow.evaluation.compare import FLIPS, Comparison
from vqaflow.reporting.statistics import CONFIDENCE

SHOWN_FLIPS, SHOWN_WIDTH = 20, 48


def describe(found: Comparison) -> Iterator[str]:
    """What the command prints, line by line."""
    yield from (f"note: {note}" for note in found.notes)
    header = ["rows", "n", "A", "B", "B - A, 95 % interval", "only A right", "only B right", "p (McNemar)"]
    lines = [summary_line("all", found.overall, 1)]
    lines += [summary_line(qtype, summary, len(found.by_type)) for qtype, summary in found.by_type.items()]
    yield from columns([header, *lines])
    if len(found.by_type) > 1:
        yield f"p-values by type are multiplied by their number, {len(found.by_type)} (Bonferroni)."
    yield verdict(found.overall)
    flips = found.flips
    counts = flips["change"].value_counts()
    yield f"{len(flips)} answers changed: " + ", ".join(
        f"{counts.get(k, 0)} {k}" for k in ("gained", "lost", "both wrong")
    )
    if len(flips):
        shown = flips.head(SHOWN_FLIPS).astype({"p_right_a": object, "p_right_b": object})
        cells = [
            [f"{cell:.2f}" if isinstance(cell, float) else cut(str(cell)) for cell in row] for row in shown.to_numpy()
        ]
        yield from columns([FLIPS, *cells])
    if len(flips) > SHOWN_FLIPS:
        yield f"and {len(flips) - SHOWN_FLIPS} more; --out FILE writes all of them."


def summary_line(name: str, summary: Mapping[str, Any], tests: int) -> list[str]:
    """One line of the table of accuracies; its p-value is corrected for the number of `tests`."""
    return [
        name,
        f"{summary['n']:,}",
        *(f"{100 * summary[run]['accuracy']:.2f} % {interval(summary[run]['wilson'])}" for run in "ab"),
        f"{100 * summary['gain']:+.2f} {interval(summary['bootstrap'], '+')}",
        str(summary["only_first_right"]),
        str(summary["only_second_right"]),
        f"{min(1.0, tests * summary['mcnemar_p']):.3g}",
    ]


def interval(bounds: Sequence[float] | None, sign: str = "") -> str:
    """An interval in percent; a single group has none."""
    if bounds is None:
        return "[one group]"
    return f"[{100 * bounds[0]:{sign}.2f}, {100 * bounds[1]:{sign}.2f}]"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: is the difference more than noise? Both tests must say so."""
    low, high = summary["bootstrap"] or (0, 0)
    if summary["mcnemar_p"] >= 1 - CONFIDENCE or low <= 0 <= high:
        return "The difference is within noise: keep the simpler run."
    return f"{'B' if summary['gain'] > 0 else 'A'} is better, and by more than noise."


def columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of cells as aligned text; a Korean letter is two columns wide."""
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=True)).rstrip()


def width(text: str) -> int:
    """The columns that a text takes in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def cut(text: str) -> str:
    """A text in one line of at most `SHOWN_WIDTH` columns, without signs that a terminal would obey."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if width(text) <= SHOWN_WIDTH:
        return text
    while width(text) >= SHOWN_WIDTH:
        text = text[:-1]
    return text + "…"
