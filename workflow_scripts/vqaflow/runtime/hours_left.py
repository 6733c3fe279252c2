"""How far a run is and how long the rest takes: jobs weighted by the plan's seconds, corrected by what jobs took."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NOT_IN_DIGESTS = True  # what the terminal shows during a run
LIGHT_SECONDS = 10.0  # of a job that is not long: tables, pooling, figures
TAKEN_SHARE = 0.05  # of the slowest's seconds per planned second: a job below it was taken from the store, or resumed
OVERDUE = 0.1  # a job that takes longer than expected is taken to need this share of its time more


@dataclass
class HoursLeft:
    """The jobs of a run by number: each one's rule, those that are `long`, and the plan's seconds of these, once known.

    `certain`: the plan's seconds are those of the machine that runs the jobs; if not, they are only compared with each
    other, and nothing is said until a job of the plan has finished. `cards`: GPUs that share the jobs; 0: unknown.
    """

    rules: Mapping[int, str]
    long: frozenset[int] = frozenset()
    planned: dict[int, float] = field(default_factory=dict)
    certain: bool = False
    cards: int = 0
    began: float = field(default_factory=time.monotonic)
    running: dict[int, float] = field(default_factory=dict)
    took: dict[int, float] = field(default_factory=dict)
    most_at_once: int = 1

    def start(self, jobs: Iterable[int], now: float) -> None:
        """Note that jobs were started; a second attempt counts anew."""
        self.running |= dict.fromkeys(jobs, now)
        at_once = len(self.long & self.running.keys())
        self.most_at_once = max(self.most_at_once, min(at_once, self.cards or at_once))

    def finish(self, job: int, now: float) -> None:
        """Note that a job is done."""
        if job in self.running:
            self.took[job] = now - self.running.pop(job)

    def fail(self, job: int) -> None:
        """Note that a job ended without its result."""
        self.running.pop(job, None)

    def seconds_left(self, now: float) -> float | None:
        """About how many seconds the rest takes; None while it is not known."""
        rest = {job: self._rest(job, now) for job in self.rules if job not in self.took}
        if any(seconds is None for seconds in rest.values()):
            return None
        known = [seconds for seconds in rest.values() if seconds is not None]
        return max(sum(known) / self.most_at_once, max(known, default=0.0))

    def _rest(self, job: int, now: float) -> float | None:
        expected = self._expected(job)
        if expected is None or job not in self.running:
            return expected
        elapsed = now - self.running[job]
        return max(expected - elapsed, OVERDUE * elapsed)

    def _expected(self, job: int) -> float | None:
        """Seconds of a whole job: the plan's, times what finished jobs of its rule, or else of any, took of theirs."""
        if job not in self.planned:
            alike = [seconds for done, seconds in self.took.items() if self.rules.get(done) == self.rules[job]]
            return sum(alike) / len(alike) if alike else None if job in self.long else LIGHT_SECONDS
        done = [other for other in self.took if other in self.planned]
        share = _share(self, [other for other in done if self.rules[other] == self.rules[job]]) or _share(self, done)
        if share is None:
            return self.planned[job] if self.certain else None
        return share * self.planned[job]

    def told(self, now: float) -> str:
        """The time that has passed and that is left, in words."""
        left = self.seconds_left(now)
        passed = f"in {span(now - self.began)}"
        if len(self.took) >= len(self.rules):
            return passed
        return f"{passed}, {'time left: known after a training or scoring' if left is None else f'{about(left)} left'}"

    def short(self, now: float) -> str:
        """The same for the end of a bar: jobs and the time left."""
        left = self.seconds_left(now)
        return f"run {len(self.took)}/{len(self.rules)}" + ("" if left is None else f", {about(left)} left")


def _share(run: HoursLeft, jobs: list[int]) -> float | None:
    """What `jobs` took, per second of the plan; those that were taken from the store do not count beside others."""
    shares = [run.took[job] / run.planned[job] for job in jobs]
    real = [job for job, share in zip(jobs, shares, strict=True) if share >= TAKEN_SHARE * max(shares)]
    return sum(run.took[job] for job in real) / sum(run.planned[job] for job in real) if real else None


def about(seconds: float) -> str:
    """A rough time, in words."""
    return f"about {span(seconds)}" if seconds >= 60 else "less than a minute"


def span(seconds: float) -> str:
    """A time in the unit in which one would say it."""
    if seconds >= 3600 * 0.95:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
