"""A comparison as text for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vqaflow.evaluation.compare import FLIPS, Comparison
from vqaflow.reporting.statistics import CONFIDENCE, widest
from vqaflow.reporting.terminal_table import table_lines

SHOWN_FLIPS = 20
SEEDS = "(Noise of the rows. What another training seed would change is not in it: compare sets of runs with --seeds.)"


def describe(found: Comparison) -> Iterator[str]:
    """The lines that the command prints."""
    yield from (f"note: {note}" for note in found.notes)
    header = ["rows", "n", "A", "B", "B - A, 95 % interval", "only A right", "only B right", "p"]
    lines = [summary_line(name, summary) for name, summary in ({"all": found.overall} | found.by_type).items()]
    yield from table_lines(header, lines)
    yield f"Intervals and p-values keep the rows of a group together: {found.groups:,} groups. p: sign-flip test."
    if len(found.by_type) > 1:
        yield f"p-values by type are corrected for their number, {len(found.by_type)} (Westfall and Young)."
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


def summary_line(name: str, summary: Mapping[str, Any]) -> list[str]:
    """One row of the table of accuracies."""
    return [
        name,
        f"{summary['n']:,}",
        *(f"{100 * summary[run]['accuracy']:.2f} % {interval(widest(summary[run]))}" for run in "ab"),
        f"{100 * summary['gain']:+z.2f} {interval(summary['bootstrap'], '+')}",
        str(summary["only_first_right"]),
        str(summary["only_second_right"]),
        f"{summary['p_value']:.3g}",
    ]


def interval(bounds: Sequence[float] | None, sign: str = "") -> str:
    """An interval in percent; with a single group there is none."""
    if bounds is None:
        return "[one group]"
    return f"[{100 * bounds[0]:{sign}z.2f}, {100 * bounds[1]:{sign}z.2f}]"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: is the difference more than noise? Test and interval must agree that it is."""
    low, high = summary["bootstrap"] or (0, 0)
    if summary["p_value"] >= 1 - CONFIDENCE or low <= 0 <= high:
        return f"The difference is within noise: keep the simpler run. {SEEDS}"
    return f"{'B' if summary['gain'] > 0 else 'A'} is better, and by more than noise. {SEEDS}"
