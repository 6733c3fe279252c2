"""How many rows a run may go on without: above that share something is wrong with the data, not with single rows."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from vqaflow.data.problems import ERROR, Problem, Problems, likeness
from vqaflow.runtime.errors import UserError


def check_share(problems: Problems, usable: Mapping[Path, int], most: float, listed: Path) -> None:
    """Raise UserError if more than the share `most` of a table's rows cannot be used (data.max_quarantined).

    `usable` has the number of usable rows of each table; `listed` is the file that lists all problems.
    """
    for file, rows in usable.items():
        found = [problem for problem in problems.sorted() if problem.file == str(file) and problem.severity == ERROR]
        bad = len({problem.row for problem in found})
        if bad <= most * (bad + rows):
            continue
        first, count = commonest(found)
        raise UserError(
            f"{file}: {bad:,} of {bad + rows:,} rows ({bad / (bad + rows):.1%}) cannot be used, more than "
            f"data.max_quarantined = {most:g} ({most:.0%}). Most frequent cause, {count:,} times ({first.kind}): "
            f"{first.problem}, first in line {first.row} ({first.value!r}). {first.cure}. "
            f"{listed} lists all. To go on without these rows, raise data.max_quarantined."
        )


def commonest(problems: list[Problem]) -> tuple[Problem, int]:
    """The first of the most frequent problems that are alike, and how many there are."""
    counts = Counter(map(likeness, problems))
    kind, count = counts.most_common(1)[0]
    return next(problem for problem in problems if likeness(problem) == kind), count
