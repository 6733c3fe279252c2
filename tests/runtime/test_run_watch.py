"""The listener of a run must count every job once, and leave nothing behind that a later run could take for its own."""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from vqaflow.runtime import run_watch
from vqaflow.runtime.run_watch import HOURS_LEFT, RunWatch, hours_left

JOBS = {1: ("validate_tables", ""), 2: ("make_folds", ""), 3: ("all", "")}


def record(event: LogEvent, **values) -> logging.LogRecord:
    """A record as Snakemake logs it."""
    return logging.makeLogRecord({"event": event, **values})


@pytest.fixture
def lines() -> list[float]:
    return []


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[float]) -> Iterator[RunWatch]:
    """A listener whose state is written every 20 ms, and whose lines are due after 300 ms."""
    monkeypatch.setenv(HOURS_LEFT, str(tmp_path / "logs" / "hours_left.txt"))
    monkeypatch.setattr(run_watch, "SECONDS_BETWEEN_STATES", 0.02)
    monkeypatch.setattr(run_watch, "SECONDS_BETWEEN_LINES", 0.3)
    made = RunWatch(lambda: JOBS, {}, lambda: lines.append(time.monotonic()))
    yield made
    made.close()


def wait_for(what) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_jobs_are_counted_as_they_end(watch):
    """What the bar of a job shows, from the file that the run keeps."""
    assert watch.line("0 of 3 steps (0%) done") == "0 of 3 steps (0%) done"  # before the first job
    watch.handle(record(LogEvent.JOB_STARTED, jobs=[1]))
    watch.handle(record(LogEvent.JOB_FINISHED, job_id=1))
    watch.handle(record(LogEvent.JOB_STARTED, jobs=[2]))
    watch.handle(record(LogEvent.JOB_ERROR, jobid=2))
    wait_for(lambda: hours_left() == "run 1/3, less than a minute left")
    assert watch.line("1 of 3 steps (33%) done") == "1 of 3 steps (33%) done in 0 s, less than a minute left"
    watch.close()
    assert hours_left() == ""


def test_a_long_job_is_not_silent(watch, lines):
    """A training of five hours ends no job for five hours; after each of Snakemake's lines the wait begins again."""
    watch.handle(record(LogEvent.JOB_STARTED, jobs=[1]))
    wait_for(lambda: len(lines) >= 2)
    assert lines[1] - lines[0] >= 0.3
    watch.close()
    told = len(lines)
    time.sleep(0.5)
    assert len(lines) == told


def test_a_mistake_in_telling_the_time_ends_no_run(watch, capsys):
    """The listener runs in Snakemake's own process: an error of ours would stop trainings."""
    watch.jobs = None
    watch.handle(record(LogEvent.JOB_STARTED, jobs=[1]))
    assert "TypeError" in capsys.readouterr().err


def test_without_a_run_a_bar_says_nothing_of_one(monkeypatch):
    """A stage that is run by hand."""
    monkeypatch.delenv(HOURS_LEFT, raising=False)
    assert hours_left() == ""


def test_each_results_folder_has_a_plan_of_its_own(watch, monkeypatch):
    """Modules of one workflow have members and folds of the same names, whose jobs take other times."""
    answer = "json.dumps({'seconds': {'main 0': int(json.load(sys.stdin))}, 'certain': True, 'cards': 1})"
    monkeypatch.setattr(run_watch, "PLAN", (sys.executable, "-c", f"import json, sys; print({answer})"))
    watch.plans |= {"april/results": 7, "may": 8, "unused": 9}
    names = {1: "april/results:main 0", 2: "may:main 0", 3: ""}
    watch.jobs = lambda: {job: ("train_adapter", name) for job, name in names.items()}
    watch.handle(record(LogEvent.JOB_STARTED, jobs=[1]))
    wait_for(lambda: watch.run.planned == {1: 7, 2: 8})
