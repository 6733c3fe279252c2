"""What is wrong with the user's tables: collected in full, listed in a CSV file, summarised in one message.

A problem's severity says what follows from it:

- ``error``: the row cannot be used. The run stops, or with ``data.on_bad_row: quarantine`` continues without the row
  (train) or with the row marked as not usable (test).
- ``fatal``: leaving out a row cannot cure it (a missing file or column, test rows without distinct ids).
  The run stops in either case.
- ``warning``: the row is used unchanged. The run continues.
- ``left out``: the configuration says that such a row is not used. The run continues without it.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path

FATAL, ERROR, WARNING, LEFT_OUT = "fatal", "error", "warning", "left out"
SHOWN = 12  # groups of problems that a message shows
PLACES = 3  # lines that are named of those that are alike
DETAILS = re.compile(r"'[^']*'|\d+")  # what differs between problems of one cause
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
    lines = [f"  {line}" for line in grouped_lines(stopping)]
    advice = f"Correct them; {listed} lists all of them, each with its cure."
    if not any(problem.severity == FATAL for problem in stopping):
        advice += " Or set data.on_bad_row: quarantine to continue without these rows."
    count = f"{len(stopping)} problem{'s' * (len(stopping) > 1)} ({count_kinds(stopping)})"
    return UserError("\n".join([f"tables: {count}.", *lines, advice]))


def likeness(problem: Problem) -> tuple[str, ...]:
    """What problems of one cause have in common: file, column, kind, wording and cure, whatever the row."""
    texts = [problem.problem, problem.cure]
    if problem.id:  # of a row, not of a whole file, such as a missing column
        texts = [DETAILS.sub("#", text.replace(problem.value, "#") if problem.value else text) for text in texts]
    return (problem.file, problem.column, problem.kind, problem.severity, *texts)


def grouped_lines(problems: Sequence[Problem]) -> list[str]:
    """One line for each group of problems that are alike: the first, how many more there are, and the next places.

    At most SHOWN groups are shown, the first of each kind before others; the last line counts the rest.
    """
    groups: dict[tuple[str, ...], list[Problem]] = defaultdict(list)
    for problem in problems:
        groups[likeness(problem)].append(problem)
    shown = first_of_each_kind([group[0] for group in groups.values()])
    lines = [group_line(groups[likeness(first)]) for first in shown]
    rest = len(problems) - sum(len(groups[likeness(first)]) for first in shown)
    return [*lines, f"and {rest:,} more."] if rest else lines


def group_line(group: Sequence[Problem]) -> str:
    """The first of problems that are alike, with the number and the lines of the others."""
    first, *others = group
    if not others:
        return str(first)
    places = ", ".join(str(problem.row) for problem in others[:PLACES]) + (", …" if len(others) > PLACES else "")
    return f"{first} The same {len(others):,} times more: line{'s' * (len(others) > 1)} {places}."


def first_of_each_kind(problems: Sequence[Problem]) -> list[Problem]:
    """At most SHOWN of `problems`, in their order: the first of each kind, and then the first of the rest."""
    seen: set[str] = set()
    firsts, others = [], []
    for number, problem in enumerate(problems):
        (others if problem.kind in seen else firsts).append(number)
        seen.add(problem.kind)
    return [problems[number] for number in sorted((firsts + others)[:SHOWN])]
