"""What is wrong with the user's tables: collected in full, listed in a CSV file, summarised in one message.

A problem's severity says what follows from it:

- ``error``: the row cannot be used. The run stops, or with ``data.on_bad_row: quarantine`` continues without the row
  (train) or with the row marked as not usable (test).
- ``fatal``: leaving out a row cannot cure it (a missing file or column, test rows without distinct ids).
  The run stops in either case.
- ``warning``: the row is used unchanged. The run continues.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path

FATAL, ERROR, WARNING = "fatal", "error", "warning"
SHOWN = 12  # problems that the message lists
LONGEST_VALUE = 200  # characters of a cell that are quoted


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: in `file`, in the record that starts at line `row` (0: the file as a whole), in `column`."""

    file: str
    row: int
    id: str
    column: str
    value: str
    problem: str
    cure: str
    kind: str
    severity: str = ERROR

    def __str__(self) -> str:
        line = f" line {self.row}" if self.row else ""
        row_id = f", id {self.id!r}" if self.id else ""
        column = f", column {self.column}" if self.column else ""
        value = f" ({self.value!r})" if self.value else ""
        return f"{self.file}{line}{row_id}{column}: {self.problem}{value}. {self.cure}."


PROBLEM_FIELDS = [field.name for field in fields(Problem)]


class Problems:
    """All problems of a run, by file in the order of `files`, then by row."""

    def __init__(self, files: Iterable[Path | str]) -> None:
        self.order = {str(file): number for number, file in enumerate(files)}
        self.found: list[Problem] = []
        self.fatal = False

    def add(self, file: Path | str, row: int, row_id: str, column: str, value: str, **rest: str) -> None:
        """Note one problem; `rest` holds its problem, cure and kind, and its severity unless that is ``error``."""
        self.found.append(Problem(str(file), row, row_id, column, value[:LONGEST_VALUE], **rest))
        self.fatal |= self.found[-1].severity == FATAL

    def sorted(self) -> list[Problem]:
        """The problems in the order of the list."""
        return sorted(self.found, key=lambda problem: (self.order.get(problem.file, -1), problem.row))

    def stopping(self, on_bad_row: str) -> list[Problem]:
        """Those that stop the run."""
        stops = {"stop": (FATAL, ERROR), "quarantine": (FATAL,)}[on_bad_row]
        return [problem for problem in self.sorted() if problem.severity in stops]

    def count(self) -> str:
        """How many there are of each kind, most frequent first."""
        return count_kinds(self.found)

    def write(self, target: Path) -> None:
        """Write the list as CSV (UTF-8), atomically; with no problem it has a header only."""
        with atomic_path(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(PROBLEM_FIELDS)
            writer.writerows(map(attrgetter(*PROBLEM_FIELDS), self.sorted()))


def count_kinds(problems: Iterable[Problem]) -> str:
    """For example ``3 empty_cell, 1 duplicate_id``."""
    return ", ".join(f"{count} {kind}" for kind, count in Counter(p.kind for p in problems).most_common())


def user_error(stopping: Sequence[Problem], listed: Path) -> UserError:
    """The error of a run that the problems `stopping` end; the file `listed` contains all problems."""
    shown = first_of_each_kind(stopping)
    lines = [f"  {problem}" for problem in shown]
    if len(shown) < len(stopping):
        lines.append(f"  and {len(stopping) - len(shown)} more.")
    advice = f"Correct them; {listed} lists all of them, each with its cure."
    if not any(problem.severity == FATAL for problem in stopping):
        advice += " Or set data.on_bad_row: quarantine to continue without these rows."
    count = f"{len(stopping)} problem{'s' * (len(stopping) > 1)} ({count_kinds(stopping)})"
    return UserError("\n".join([f"tables: {count}.", *lines, advice]))


def first_of_each_kind(problems: Sequence[Problem]) -> list[Problem]:
    """At most SHOWN of `problems`, in their order: the first of each kind, and then the first of the rest."""
    seen: set[str] = set()
    firsts, others = [], []
    for number, problem in enumerate(problems):
        (others if problem.kind in seen else firsts).append(number)
        seen.add(problem.kind)
    return [problems[number] for number in sorted((firsts + others)[:SHOWN])]
