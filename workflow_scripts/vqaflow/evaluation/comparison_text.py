"""A comparison as text for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqaflow.evaluation.compare import FLIPS, Comparison
from vqaflow.reporting.statistics import CONFIDENCE
from vqaflow.reporting.terminal_table import table_lines

SHOWN_FLIPS = 20


def describe(found: Comparison) -> Iterator[str]:
    """The lines that the command prints."""
    yield from (f"note: {note}" for note in found.notes)
    header = ["rows", "n", "A", "B", "B - A, 95 % interval", "only A right", "only B right", "p (McNemar)"]
    lines = [summary_line("all", found.overall, 1)]
    lines += [summary_line(qtype, summary, len(found.by_type)) for qtype, summary in found.by_type.items()]
    yield from table_lines(header, lines)
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
        cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in shown.to_numpy()]
        yield from table_lines(FLIPS, cells)
    if len(flips) > SHOWN_FLIPS:
        yield f"and {len(flips) - SHOWN_FLIPS} more; --out FILE writes all of them."


def summary_line(name: str, summary: Mapping[str, Any], tests: int) -> list[str]:
    """One row of the table of accuracies; its p-value is corrected for the number of `tests`."""
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
    """An interval in percent; with a single group there is none."""
    if bounds is None:
        return "[one group]"
    return f"[{100 * bounds[0]:{sign}.2f}, {100 * bounds[1]:{sign}.2f}]"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: is the difference more than noise? Both tests must agree that it is."""
    low, high = summary["bootstrap"] or (0, 0)
    if summary["mcnemar_p"] >= 1 - CONFIDENCE or low <= 0 <= high:
        return "The difference is within noise: keep the simpler run."
    return f"{'B' if summary['gain'] > 0 else 'A'} is better, and by more than noise."
