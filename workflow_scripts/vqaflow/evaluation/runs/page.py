"""The page on kept runs beside the current one. `compare_runs` in workflow_scripts makes it for the report."""

from collections.abc import Mapping
from pathlib import Path

from vqaflow.evaluation.pages.html_page import Cell, Span, heading, intervals, page, paragraphs, table
from vqaflow.evaluation.runs.comparison import Run, RunTable, compare_runs, with_problem
from vqaflow.evaluation.runs.wording import RUN_HEADER, against_cells, against_header, run_cells, setting_rows
from vqaflow.runtime.files import write_text

TITLE = "Runs beside each other"
VERDICT = 4  # the column of `against_cells` that is coloured


def runs_page(folders: Mapping[str, Path], out: Path) -> None:
    """Compare the runs in `folders` (by name) with the first, and write the page `out`."""
    write_page(compare_runs(folders), out)


def write_page(found: RunTable, out: Path) -> None:
    """Write the page of a comparison."""
    lead = f"{len(found.runs)} runs; all comparisons are with {found.runs[0].name}, on the rows that both have."
    write_text(out, page(TITLE, [lead], parts(found)))


def parts(found: RunTable) -> list[str]:
    """The page's sections."""
    made = [chart(found), table(RUN_HEADER, [run_row(run) for run in found.runs], "runs")]
    if len(found.runs) > 1:
        made += [heading(f"Against {found.runs[0].name}"), against_table(found)]
        made.append(
            paragraphs([f"p-values are multiplied by the number of comparisons, {len(found.runs) - 1}."], "soft")
        )
        made += [heading("Settings that differ"), setting_table(found)]
    if notes := with_problem(found):
        made += [heading("Notes"), paragraphs(notes)]
    return made


def run_row(run: Run) -> list[Cell]:
    """A run's line; its members are text."""
    name, members, *numbers = run_cells(run)
    return [Cell(name), Cell(members, "text"), *map(Cell, numbers)]


def chart(found: RunTable) -> str:
    """The runs' OOF accuracies with their intervals."""
    spans = [
        Span(
            run.name,
            run.summary["accuracy"],
            (run.summary["interval"][0], run.summary["interval"][1]),
            run_cells(run)[2],
            place == 0,
        )
        for place, run in enumerate(found.runs)
    ]
    return intervals(spans, f"OOF accuracy with its 95 % interval; dashed: {spans[0].name}.")


def against_table(found: RunTable) -> str:
    """Each run against the first."""
    rows = []
    for run, against in zip(found.runs[1:], found.against[1:], strict=True):
        look = ("good" if against.gain > 0 else "bad") if against.real else ""
        cells = against_cells(run, against)
        rows.append([Cell(text, look if place == VERDICT else "") for place, text in enumerate(cells)])
    return table(against_header(found), rows, "differences to the first run")


def setting_table(found: RunTable) -> str:
    """The settings that differ; values that are not the first run's are marked."""
    rows = [
        [Cell(key), *(Cell(value, "text" if value == values[0] else "text changed") for value in values)]
        for key, *values in setting_rows(found)
    ]
    if not rows:
        return paragraphs(["No recorded setting differs."])
    return table(["setting", *(run.name for run in found.runs)], rows, "settings that differ")
