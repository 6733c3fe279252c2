"""Kept runs and their comparison in lines of text."""

from collections.abc import Iterator, Sequence
from typing import Any

from vqaflow.evaluation.comparison_text import interval
from vqaflow.evaluation.runs.comparison import Against, Run, RunTable, with_problem
from vqaflow.evaluation.runs.kept import KeptRun, own_bytes
from vqaflow.evaluation.runs.summary import short
from vqaflow.reporting.terminal_table import table_lines

LIST_HEADER = ["name", "kept", "OOF accuracy, 95 % interval", "NLL", "n", "minutes", "submission", "own MB"]
RUN_HEADER = ["run", "members", "OOF accuracy, 95 % interval", "NLL", "n", "minutes", "submission"]
AGAINST_HEADER = ["against it", "OOF difference, 95 % interval", "only one right", "p, corrected", "OOF rows"]
AGAINST_HEADER += ["test answers changed"]
OWN = "own MB: what `vqaflow runs drop NAME` frees; all else is shared with results/ or with another kept run."


def listed(runs: Sequence[KeptRun]) -> Iterator[str]:
    """The lines of `vqaflow runs`."""
    if not runs:
        yield "No run is kept. `vqaflow runs keep NAME` keeps the finished run in results/."
        return
    yield from table_lines(LIST_HEADER, [list_cells(run) for run in runs])
    yield OWN


def list_cells(run: KeptRun) -> list[str]:
    """A kept run's line, from its manifest."""
    summary = run.manifest.get("summary")
    size = f"{own_bytes(run.folder) / 1e6:.1f}"
    if not summary:
        return [run.name, "damaged: its manifest has no summary", "", "", "", "", "", size]
    _, accuracy, nll, n, minutes, digest = number_cells(summary)
    return [run.name, str(run.manifest.get("kept")), accuracy, nll, n, minutes, digest, size]


def number_cells(summary: dict[str, Any]) -> list[str]:
    """Members, accuracy, NLL, n, minutes and digest of a summary."""
    minutes = summary["minutes"]
    return [
        ", ".join(summary["members"]),
        f"{100 * summary['accuracy']:.2f} % {interval(summary['interval'])}",
        f"{summary['nll']:.4f}",
        f"{summary['n']:,}",
        "" if minutes is None else f"{minutes:.0f}",
        short(summary["submission"]),
    ]


def run_cells(run: Run) -> list[str]:
    """A compared run's line in the table of `RUN_HEADER`."""
    return [run.name, *number_cells(run.summary)]


def against_cells(run: Run, against: Against) -> list[str]:
    """A run's line in the table of `AGAINST_HEADER`, without the verdict."""
    changed = "" if against.changed is None else f"{against.changed:,} of {against.test_rows:,}"
    if against.problem:
        return [run.name, "not comparable", "", "", "", "", changed]
    return [
        run.name,
        f"{100 * against.gain:+z.2f} {interval(against.interval, '+')}",
        f"{against.only_first} : {against.only_second}",
        f"{against.p_value:.3g}",
        "real" if against.real else "within noise",
        f"{against.n:,}",
        changed,
    ]


def against_header(table: RunTable) -> list[str]:
    """The header of the second table, which names the first run."""
    return [f"against {table.runs[0].name}", *AGAINST_HEADER[1:4], "verdict", *AGAINST_HEADER[4:]]


def setting_rows(table: RunTable) -> list[list[str]]:
    """The settings that differ: the key, then each run's value."""
    return [[key, *map(shown, values)] for key, values in table.settings.items()]


def shown(value: Any) -> str:
    """A setting's value."""
    if value is None:
        return "—"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def described(table: RunTable) -> Iterator[str]:
    """The lines of `vqaflow runs A B …`."""
    yield from table_lines(RUN_HEADER, [run_cells(run) for run in table.runs])
    if len(table.runs) > 1:
        yield ""
        pairs = zip(table.runs[1:], table.against[1:], strict=True)
        yield from table_lines(against_header(table), [against_cells(run, against) for run, against in pairs])
        if len(table.runs) > 2:
            yield f"p-values are multiplied by the number of comparisons, {len(table.runs) - 1} (Bonferroni)."
        yield ""
        yield from setting_lines(table)
    yield from (f"note: {line}" for line in with_problem(table))


def setting_lines(table: RunTable) -> Iterator[str]:
    """The settings that differ, or that none does."""
    if table.settings:
        yield from table_lines(["setting", *(run.name for run in table.runs)], setting_rows(table))
    else:
        yield "No recorded setting differs."
