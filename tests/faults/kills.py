"""SIGKILL at random moments of a whole run: to a job, to all processes, or to Snakemake alone, which leaves orphans.

The moment is a random amount of a job's processor time, or the next change of a file in results, whichever is drawn: so
it depends little on how busy the machine is, and writing is hit as often as computing.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault_world import (
    Outcome,
    begin,
    differences,
    forget_output,
    kill_session,
    make_world,
    printed_by,
    session,
    unlock,
    wait_for_session,
)
from tests.faults.watching import CHANGES, Watch

JOB, GROUP, ALONE = "job", "group", "Snakemake alone"
KINDS = [JOB] * 6 + [GROUP] * 2 + [ALONE] * 2  # how often each kind is drawn
MOST_SECONDS = 6.0  # of a job's processor time before it is killed
MOST_CHANGES = 8
MOST_PER_JOB = 3
MOST_PER_RULE = {"train_adapter": 8, "score_choices": 8}  # several jobs, and the longest
PATIENCE = 4 * 3600.0  # seconds until a run must have ended; a busy machine is slow
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Plan:
    """When and what the next kill hits."""

    kind: str
    seconds: float | None  # of a job's processor time
    changes: int | None  # in results, while a job runs

    @classmethod
    def draw(cls, rng: random.Random) -> "Plan":
        """The next kill."""
        kind = rng.choice(KINDS)
        if rng.random() < 0.5:
            return cls(kind, rng.uniform(0.0, MOST_SECONDS), None)
        return cls(kind, None, rng.randint(1, MOST_CHANGES))


@dataclass
class Job:
    """A job's own process: its script in Python, below Snakemake's."""

    pid: int
    rule: str

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.seconds < float("inf")

    @property
    def seconds(self) -> float:
        """Its processor time so far; a process that has just ended has had enough."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("inf")
        return float("inf") if fields[0] in "ZX" else (int(fields[11]) + int(fields[12])) / TICKS


def job_of(leader: int, known: Job | None = None) -> Job | None:
    """The job that a session runs, if it runs one now; first it is looked for where it was `known`."""
    if known is not None and known.is_alive:
        return known
    for pid in session(leader):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        script = next((word.decode() for word in words[1:3] if b".snakemake/scripts/" in word), None)
        if script and b"python" in words[0]:
            return Job(pid, script.rpartition("/")[2].removesuffix(".py").partition(".")[2])
    return None


class KilledRun:
    """A run that is killed again and again until it ends, with what was hit."""

    def __init__(self, folder: Path, rng: random.Random, kills: int) -> None:
        self.folder, self.rng, self.left = folder, rng, kills
        self.hits: list[tuple[str, str]] = []
        self.orphans: list[int] = []
        self.stopped: set[int] = set()

    def run(self) -> int:
        """Run to the end; returns the exit status."""
        end, changes = time.monotonic() + PATIENCE, Watch(self.folder / "results", CHANGES)
        process, plan, hits_of = self.begin(), Plan.draw(self.rng), Counter()
        job = None
        try:
            while process.poll() is None:
                assert time.monotonic() < end, "the run does not end"
                count = len(changes.wait(0.05))
                if self.left == 0 and not self.stopped:
                    time.sleep(0.2)
                    continue
                job = job_of(process.pid, job)
                if job is None:
                    continue
                self.go_on()
                if self.left == 0 or hits_of[job.rule] >= MOST_PER_RULE.get(job.rule, MOST_PER_JOB):
                    continue
                if plan.changes is not None:
                    plan.changes -= count
                if plan.changes > 0 if plan.changes is not None else job.seconds < plan.seconds:
                    continue
                hits_of[job.rule] += 1
                process, job = self.hit(process, plan, job), None
                plan = Plan.draw(self.rng)
            self.go_on()
            for orphan in self.orphans:
                wait_for_session(orphan, PATIENCE)
        finally:
            changes.close()
            for leader in (process.pid, *self.orphans):
                kill_session(leader)
        return process.returncode

    def begin(self) -> subprocess.Popen:
        """Start Snakemake, which tries a killed job again, as users' profiles do."""
        return begin(self.folder, "--retries", "1000")

    def hit(self, process: subprocess.Popen, plan: Plan, job: Job) -> subprocess.Popen:
        """Kill; returns the run that goes on."""
        self.left -= 1
        self.hits.append((plan.kind, job.rule))
        if plan.kind == JOB:
            os.kill(job.pid, signal.SIGKILL)
            return process
        if plan.kind == GROUP:
            kill_session(process.pid)
            process.wait()
        else:
            if self.rng.random() < 0.5:  # stop the orphan until the next run has begun the same job
                os.kill(job.pid, signal.SIGSTOP)
                self.stopped.add(job.pid)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            self.orphans.append(process.pid)
        unlock(self.folder)
        return self.begin()

    def go_on(self) -> None:
        """Let stopped orphans run on, beside the job that does the same."""
        for pid in self.stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
        self.stopped.clear()


def kill_runs(scratch: Path, expected: dict[str, str], seed: int, kills: int) -> list[Outcome]:
    """Whole runs, killed `kills` times in all; one outcome per run."""
    outcomes, done, number = [], 0, 0
    while done < kills:
        folder = make_world(scratch / f"killed{number}")
        (folder / "results").mkdir(exist_ok=True)
        run = KilledRun(folder, random.Random(f"{seed} {number}"), kills - done)
        status = run.run()
        done, number = done + len(run.hits), number + 1
        outcomes.append(judged(folder, status, run, expected))
        print(outcomes[-1], flush=True)
        if outcomes[-1].is_right:
            shutil.rmtree(folder)
    return outcomes


def judged(folder: Path, status: int, run: KilledRun, expected: dict[str, str]) -> Outcome:
    """Whether a killed run ended as one that nothing disturbed."""
    kinds = Counter(kind for kind, _ in run.hits)
    rules = Counter(rule for _, rule in run.hits)
    fault = f"{len(run.hits)} kills ({text_of(kinds)}) in {text_of(rules)}"
    if status != 0:
        return Outcome(fault, False, f"exit status {status}: {printed_by(folder)[-3000:]}")
    if "Traceback" in printed_by(folder):
        at = printed_by(folder).index("Traceback")
        return Outcome(fault, False, f"a traceback: {printed_by(folder)[at : at + 3000]}")
    if different := differences(folder / "results", expected):
        return Outcome(fault, False, f"other bytes: {', '.join(different)}")
    forget_output(folder)
    return Outcome(fault, True, f"{len(expected)} artifacts, byte for byte those of an undisturbed run")


def text_of(counts: Counter) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
