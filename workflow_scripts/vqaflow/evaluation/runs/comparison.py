"""Several runs beside each other: what differs in their settings, and whether their answers do by more than noise.

Shapes: N rows, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import PROBABILITY, probability_columns
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.compare import compare, setting_notes
from vqaflow.evaluation.run_settings import differing, settings_of
from vqaflow.evaluation.runs.summary import summary_of
from vqaflow.reporting.statistics import CONFIDENCE
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import read_manifest


@dataclass(frozen=True)
class Run:
    """A run that is compared: its numbers (see summary_of), its settings and when it was kept."""

    name: str
    folder: Path
    summary: dict[str, Any]
    settings: dict[str, Any]
    kept: str | None


@dataclass(frozen=True)
class Against:
    """A run against the first one, on the OOF rows and the test rows that both have.

    `p_value` is corrected for the number of comparisons; `real` says that both tests show more than noise. A run that
    cannot be compared has a `problem` instead of numbers.
    """

    n: int = 0
    gain: float | None = None
    interval: tuple[float, float] | None = None
    only_first: int | None = None
    only_second: int | None = None
    p_value: float | None = None
    real: bool | None = None
    changed: int | None = None
    test_rows: int = 0
    notes: list[str] = field(default_factory=list)
    problem: str | None = None


@dataclass(frozen=True)
class RunTable:
    """The runs, each against the first (the first has None there), and the settings that differ, by dotted key."""

    runs: list[Run]
    against: list[Against | None]
    settings: dict[str, list[Any]]


def compare_runs(folders: Mapping[str, Path]) -> RunTable:
    """Compare the runs in `folders` (by name) with the first of them. Raises UserError if one has no results."""
    runs = [read(name, folder) for name, folder in folders.items()]
    tests = len(runs) - 1
    against = [None, *(against_first(runs[0].folder, run.folder, tests) for run in runs[1:])]
    return RunTable(runs, against, differing([run.settings for run in runs]))


def read(name: str, folder: Path) -> Run:
    """What the folder of a run says."""
    return Run(name, folder, summary_of(folder), settings_of(folder), read_manifest(folder).get("kept"))


def against_first(first: Path, other: Path, tests: int) -> Against:
    """One of `tests` comparisons with the first run."""
    changed, test_rows = changed_answers(first, other)
    try:
        found = compare(first, other)
    except UserError as error:
        return Against(changed=changed, test_rows=test_rows, problem=str(error))
    overall, interval = found.overall, found.overall["bootstrap"]
    p_value = min(1.0, tests * overall["p_value"])
    settings = set(setting_notes(first, other))
    return Against(
        overall["n"],
        overall["gain"],
        interval,
        overall["only_first_right"],
        overall["only_second_right"],
        p_value,
        interval is not None and not interval[0] <= 0 <= interval[1] and p_value < 1 - CONFIDENCE,
        changed,
        test_rows,
        [note for note in found.notes if note not in settings],
    )


def changed_answers(first: Path, other: Path) -> tuple[int | None, int]:
    """How many answers to the test rows that both have differ, and the number of these rows; None if there is none."""
    a, b = (test_answers(folder) for folder in (first, other))
    shared = a.index.intersection(b.index)
    return (int((a.loc[shared] != b.loc[shared]).sum()) if len(shared) else None), len(shared)


def test_answers(folder: Path) -> pd.Series:
    """The most probable choice (0 to C-1) of each test row, by id."""
    path = ResultsFolder(folder).probabilities("test")
    names = probability_columns(letters_of_table(path, "ensemble_probabilities", PROBABILITY))
    table = read_table(path, "ensemble_probabilities", ["id", *names])
    return pd.Series(table[names].to_numpy().argmax(1), index=table["id"])


def as_frame(table: RunTable) -> pd.DataFrame:
    """One row per run, for a CSV; settings that differ are in the columns ``setting KEY``."""
    rows = []
    for place, (run, against) in enumerate(zip(table.runs, table.against, strict=True)):
        numbers, low_high = run.summary, run.summary["interval"]
        row = {"name": run.name, "kept": run.kept, "members": " ".join(numbers["members"])}
        row |= {key: numbers[key] for key in ("accuracy", "n", "nll", "minutes", "submission")}
        row |= {"low": low_high[0], "high": low_high[1]}
        row |= compared_columns(against or Against())
        rows.append(row | {f"setting {key}": values[place] for key, values in table.settings.items()})
    return pd.DataFrame(rows).convert_dtypes()


def compared_columns(against: Against) -> dict[str, Any]:
    """The columns of a CSV that compare with the first run."""
    keys = ("gain", "only_first", "only_second", "p_value", "real", "changed", "problem")
    low, high = against.interval or (None, None)
    return {key: getattr(against, key) for key in keys} | {"gain_low": low, "gain_high": high}


def with_problem(table: RunTable) -> Sequence[str]:
    """Why some of the runs are not compared, and other notes, each with the run's name."""
    lines = []
    for run, against in zip(table.runs[1:], table.against[1:], strict=True):
        lines += [f"{run.name}: {note}" for note in [*([against.problem] if against.problem else []), *against.notes]]
    return lines
