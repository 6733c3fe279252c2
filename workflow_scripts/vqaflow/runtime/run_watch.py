"""Listens to what a run logs, and keeps the hours that are left: in a file for the bars, and for the run's own lines.

`RunWatch` is a handler of Snakemake's logger. It knows Snakemake's records by their attributes only.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vqaflow.runtime.hours_left import HoursLeft

NOT_IN_DIGESTS = True  # what the terminal shows during a run
HOURS_LEFT = "VQAFLOW_HOURS_LEFT"  # the file with the state of the run, for the bars of its jobs
SECONDS_BETWEEN_STATES, SECONDS_BETWEEN_LINES = 5.0, 600.0
PLAN = (sys.executable, "-m", "vqaflow.plan.job_seconds")


class RunWatch(logging.Handler):
    """Follows the jobs of a run.

    `jobs` are asked for when the first one starts: by number, each job's rule and, of a long one, its name: the results
    folder, a colon, and its name in the plan. `plans` holds the configuration of each results folder (several modules
    have several), of which a plan is made in a process of its own. `say` prints a line of the run's state, which is due
    if no job has ended for ten minutes.
    """

    def __init__(
        self, jobs: Callable[[], Mapping[int, tuple[str, str]]], plans: dict[str, Any], say: Callable[[], None]
    ) -> None:
        super().__init__()
        self.jobs, self.plans, self.say = jobs, plans, say
        self.run: HoursLeft | None = None
        self.state = Path(os.environ[HOURS_LEFT])
        self.ended = threading.Event()
        self.last_line = time.monotonic()
        with suppress(OSError):
            self.state.unlink(missing_ok=True)  # what a killed run left

    def emit(self, record: logging.LogRecord) -> None:
        """Note what is logged. A mistake in doing so is printed, as logging does, and does not end the run."""
        try:
            self.note(record)
        except Exception:
            self.handleError(record)

    def note(self, record: logging.LogRecord) -> None:
        """Note jobs that start, end or fail."""
        event = getattr(getattr(record, "event", None), "name", "")
        if event == "JOB_STARTED":
            self._watch()
            self.run.start(record.jobs, time.monotonic())
        elif event == "JOB_FINISHED" and self.run:
            self.run.finish(record.job_id, time.monotonic())
        elif event == "JOB_ERROR" and self.run:
            self.run.fail(record.jobid)
        elif event == "PROGRESS":
            self.last_line = time.monotonic()

    def line(self, told: str) -> str:
        """Snakemake's own line on how far it is, with the time."""
        if self.run is None:
            return told
        with self.lock:
            return f"{told} {self.run.told(time.monotonic())}"

    def close(self) -> None:
        """End with the run."""
        self.ended.set()
        with suppress(OSError):
            self.state.unlink(missing_ok=True)
        super().close()

    def _watch(self) -> None:
        if self.run is not None:
            return
        jobs = self.jobs()
        self.names = {job: name for job, (_, name) in jobs.items()}
        long = frozenset(job for job, name in self.names.items() if name)
        self.run = HoursLeft({job: rule for job, (rule, _) in jobs.items()}, long)
        threading.Thread(target=self._keep_state, daemon=True).start()

    def _keep_state(self) -> None:
        for results, config in self.plans.items():
            self._plan(results, config)
        while not self.ended.wait(SECONDS_BETWEEN_STATES):
            with self.lock:
                state = self.run.short(time.monotonic())
            with suppress(OSError):  # the disk is full: the jobs say so
                self.state.parent.mkdir(parents=True, exist_ok=True)
                self.state.write_text(state, encoding="utf-8")
            if time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
                self.last_line = time.monotonic()
                self.say()

    def _plan(self, results: str, config: Any) -> None:
        """Ask for the plan's seconds; without a plan, jobs are only counted."""
        if not any(name.startswith(f"{results}:") for name in self.names.values()):
            return
        command = [*PLAN, results]
        asked = subprocess.run(command, input=json.dumps(config), capture_output=True, text=True, check=False)
        if asked.returncode != 0:
            return
        found = json.loads(asked.stdout)
        seconds = {f"{results}:{name}": value for name, value in found["seconds"].items()}
        with self.lock:
            self.run.certain, self.run.cards = found["certain"], found["cards"]
            self.run.planned |= {job: seconds[name] for job, name in self.names.items() if name in seconds}


def hours_left() -> str:
    """The state of the run whose job this is, for the end of a bar; "" if there is none."""
    try:
        return Path(os.environ[HOURS_LEFT]).read_text(encoding="utf-8")
    except (KeyError, OSError):
        return ""
