"""The last line of a run: the accuracy it reached, with its interval, or what stopped it."""

import csv
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.reading import read_json
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.reporting.statistics import Interval, widest, wilson
from vqaflow.runtime.errors import UserError

NOT_IN_DIGESTS = True  # what the terminal shows after a run
# The last record of a log, which may have several lines.
USER_ERROR = re.compile(r"^\d\d:\d\d:\d\d E (error: .*)\Z", re.MULTILINE | re.DOTALL)


def closing_line(results: Path, since: float) -> str:
    """What a run that began at time `since` (seconds since 1970) has made: OOF accuracy and the submission.

    For the demo, whose answers are known, also the held-out accuracy of the submission.
    """
    at = ResultsFolder(results)
    metrics, submission = at.metrics, at.submission
    if not metrics.is_file() or not any(
        path.is_file() and path.stat().st_mtime >= since for path in (metrics, at.validated)
    ):
        return "vqaflow: done"
    try:
        measured = read_json(metrics, "evaluate_oof", ["overall.right", "overall.n", "overall.wilson"])
    except UserError as error:
        return f"vqaflow: done, but {error}"
    overall, expected = measured["overall"], measured.get("expected", {})
    line = f"vqaflow: OOF accuracy {share(overall['right'], overall['n'], widest(overall))}"
    if found := searched_text(measured):
        line += f"; {found}"
    if answerers := measured.get("answerers"):
        agree, person = answerers["expected_accuracy"]["value"], answerers["one_person"]["value"]
        line += f"; {agree:.3f} of {answerers['n']:,} rows' single answers agree (one person: {person:.3f})"
    if rows := measured.get("leaderboard", {}).get("test_rows"):
        low, high = expected["score_interval"]  # the submission averages adapters, of which an OOF row has one
        line += f"; expected on {rows:,} new rows {expected['accuracy']:.3f} (95 % prediction interval "
        line += f"{low:.3f} to {high:.3f})"
    if not submission.is_file():
        return line
    answers = at.demo_answers
    if answers.is_file():
        right, given = read_answers(answers), read_answers(submission)
        if right.keys() == given.keys():
            line += f"; demo held-out accuracy {share(sum(right[i] == given[i] for i in right), len(right))}"
    return line + known_answers(at.exploration / "summary.json") + f"; submission: {submission}"


def searched_text(metrics: Mapping[str, Any]) -> str:
    """The same in words, for the log and a run's last line; "" without a search."""
    found = metrics.get("search")
    if not found:
        return ""
    folds = ("fold " if len(found["folds"]) == 1 else "folds ") + ", ".join(map(str, found["folds"]))
    without = found["without_these_folds"]
    if without is None:
        return f"all of them chose training parameters (hpo.folds: {folds}), which makes this too high"
    low, high = widest(without)
    return (
        f"without {folds}, whose rows chose training parameters: {without['accuracy']:.3f} (95 % interval {low:.3f} "
        f"to {high:.3f}, n = {without['n']})"
    )


def known_answers(summary: Path) -> str:
    """How many test rows repeat a training row, whose accuracy says nothing of new rows; "" if there is none."""
    try:
        count = read_json(summary, "explore_data", ["repeats"])["repeats"].get("test_rows_of_known_answer")
    except UserError:  # the figures were not drawn, or by an earlier version; `vqaflow verify` says what is damaged
        return ""
    return f"; {count:,} test rows repeat a training row (see {summary.parent / 'repeats.csv'})" if count else ""


def error_lines(logs: Path, since: float) -> list[str]:
    """The messages of the errors that stages logged after time `since` (seconds since 1970)."""
    lines = []
    for log in sorted(logs.rglob("*.log")):
        if not since <= log.stat().st_mtime <= time.time() + 60:  # of an earlier run, also if the clock was set back
            continue
        text = log.read_text(encoding="utf-8", errors="replace")
        if found := USER_ERROR.search(text):
            lines.append(found[1].rstrip())
    return lines


def share(right: int, n: int, interval: Interval | None = None) -> str:
    """A proportion with its interval (by default Wilson's), in words."""
    low, high = interval or wilson(right, n)
    return f"{right / n:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {n})"


def read_answers(path: Path) -> dict[str, str]:
    """Answers (second column) by id (first column), whatever the columns are called."""
    with path.open(encoding="utf-8", newline="") as file:
        _, *records = csv.reader(file)
    return {cells[0]: cells[1] for cells in records if len(cells) >= 2}
