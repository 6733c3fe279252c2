"""A study that several workers share in one SQLite file: who works on which trial, what counts, how long it took.

A trial belongs to the worker that holds the lock on its lease file; the kernel frees that lock when the worker ends for
any reason. So a running trial whose lock nobody holds has lost its worker: the next worker takes it over, with the same
number and parameters. What is drawn for trial n depends on the seed, on n and on the trials before it, not on the
process that draws: a search that was stopped continues with the same sequence of trials.
"""

import os
import random
import socket
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from vqaflow.config.sections import HpoConfig
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease, locks_are_local
from vqaflow.runtime.stage import log
from vqaflow.search.shares import SHARES
from vqaflow.search.space import Dimension

optuna.logging.set_verbosity(optuna.logging.WARNING)

FILE = "study.db"
SECONDS_FOR_A_LOCKED_FILE = 300
STARTUP_TRIALS = 5  # drawn at random, and never pruned; Optuna's 10 would be most of a search over large models
MOST_TRIES = 3  # of a trial whose worker is killed each time: its settings may be the cause
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Claim:
    """A running trial of this worker: `parameters` by dotted key of `train`, `folder` for its checkpoints."""

    trial: optuna.Trial
    parameters: dict[str, Any]
    folder: Path
    lease: Lease


class SharedStudy:
    """The study of one search in `folder`; its name holds the digest of everything that its values depend on."""

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        dimensions: list[Dimension],
        start: Mapping[str, Any] | None,
        hpo: HpoConfig,
        validations: int,
        worker: str,
    ) -> None:
        self.folder, self.dimensions, self.hpo, self.worker = folder, dimensions, hpo, worker
        self.name = f"search-{value_digest(identity)[:12]}"
        self.mutex = Lease(folder / "study.lock")  # held while a worker claims a trial
        with self.mutex.held():
            self.study = optuna.create_study(
                storage=storage(folder / FILE),
                study_name=self.name,
                direction="maximize",
                pruner=make_pruner(hpo.pruner, len(hpo.folds), validations),
                load_if_exists=True,
            )
            if "identity" not in self.study.user_attrs:
                if start and not self.study.get_trials(deepcopy=False):
                    self.study.enqueue_trial(dict(start))
                self.study.set_user_attr("identity", dict(identity))
        self.machine = socket.gethostname()
        self.session = f"session {self.machine} {os.getpid()} {time.time_ns()}"
        self.began = time.time()
        self.locks_are_local = locks_are_local(folder)

    def claim(self) -> Claim | None:
        """The next trial for this worker: an abandoned one, else a new one; None if none is left."""
        with self.mutex.held():
            self.note_time()
            self._require_shared_locks()
            if len(counted_trials(self.study)) >= self.hpo.trials:
                return None
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if claim := self._take_over(trial):
                    return claim
            busy = len(self.study.get_trials(deepcopy=False, states=(*COUNTED, TrialState.RUNNING)))
            return self._draw() if busy < self.hpo.trials else None

    def _require_shared_locks(self) -> None:
        if not self.locks_are_local:
            return
        for session, (_, last) in self._sessions().items():
            machine = session.split()[1]
            if machine != self.machine and last >= self.began:
                raise UserError(
                    f"{self.folder}: {machine} works on this search too, but on this file system machines do "
                    "not see each other's locks. Mount it with shared locks (NFS: local_lock=none; Lustre: flock), or "
                    "run all workers of a search on one machine."
                )

    def _take_over(self, abandoned: FrozenTrial) -> Claim | None:
        lease = self._lease(abandoned.number)
        if not lease.take():
            return None
        trial_id = abandoned._trial_id  # Optuna has no public way to resume a trial
        found = self.study._storage.get_trial(trial_id)
        if found.state is not TrialState.RUNNING:  # it was finished before we got its lock
            lease.release()
            return None
        if found.user_attrs.get("tries", 0) >= MOST_TRIES:
            log.warning("trial %d is given up: its worker was killed %d times", found.number, MOST_TRIES)
            self.study._storage.set_trial_user_attr(trial_id, "reason", f"its worker was killed {MOST_TRIES} times")
            self.study.tell(found.number, state=TrialState.FAIL)
            lease.release()
            return None
        log.info("trial %d has lost its worker and continues here", found.number)
        return self._claimed(optuna.Trial(self.study, trial_id), lease)

    def _draw(self) -> Claim:
        number = sum(t.state is not TrialState.WAITING for t in self.study.get_trials(deepcopy=False))
        lease = self._lease(number)
        taken = lease.take()
        assert taken, f"trial {number} is new but already locked"
        return self._claimed(self.study.ask(), lease)

    def _claimed(self, trial: optuna.Trial, lease: Lease) -> Claim:
        # TPE's joint draw has its own generator, and so has each key drawn alone (in the first trials): a worker
        # may be killed in between, and the next one must draw the same values.
        self.study.sampler = make_sampler(f"{self.hpo.seed}/{trial.number}")
        _ = trial.relative_params  # drawn on first access
        parameters = {}
        for dimension in self.dimensions:
            self.study.sampler = make_sampler(f"{self.hpo.seed}/{trial.number}/{dimension.key}")
            parameters[dimension.key] = dimension.suggest(trial)
        trial.set_user_attr("parameters", parameters)
        trial.set_user_attr("tries", trial.user_attrs.get("tries", 0) + 1)
        return Claim(trial, parameters, self.folder / self.name / f"trial{trial.number}", lease)

    def _lease(self, number: int) -> Lease:
        return Lease(self.folder / self.name / f"trial{number}.lock")

    def reported(self, claim: Claim) -> dict[int, float]:
        """The steps of a claimed trial that have been reported, with their accuracies."""
        trials = self.study.get_trials(deepcopy=False)
        return dict(trials[claim.trial.number].intermediate_values)

    def finished_here(self) -> list[int]:
        """The numbers of all trials that a worker of this name has finished."""
        return [trial.number for trial in counted_trials(self.study) if trial.user_attrs["worker"] == self.worker]

    def finish(self, claim: Claim, value: float | None, reason: str | None = None) -> None:
        """Count a claimed trial: complete with its value, or pruned for a reason."""
        claim.trial.set_user_attr("worker", self.worker)
        if reason is not None:
            claim.trial.set_user_attr("reason", reason)
        self.study.tell(claim.trial, value, state=TrialState.PRUNED if value is None else TrialState.COMPLETE)
        self.note_time()
        claim.lease.release()

    def leave(self, claim: Claim, in_order: bool) -> None:
        """Leave a claimed trial to the next worker; one left in order does not count as a try."""
        if in_order:
            claim.trial.set_user_attr("tries", claim.trial.user_attrs["tries"] - 1)
        self.note_time()
        claim.lease.release()

    def note_time(self) -> None:
        """Record that this worker is alive, for the time budget."""
        self.study.set_user_attr(self.session, [self.began, time.time()])

    def seconds_left(self) -> float | None:
        """What is left of hpo.max_minutes, which run while any worker is at work; None without a budget."""
        if not self.hpo.max_minutes:
            return None
        return 60 * self.hpo.max_minutes - covered(list(self._sessions().values()))

    def _sessions(self) -> dict[str, list[float]]:
        """When each worker so far started and was last active, in seconds of Unix time."""
        return {key: value for key, value in self.study.user_attrs.items() if key.startswith("session ")}


def storage(file: Path) -> optuna.storages.RDBStorage:
    """The storage in an SQLite file; it waits for a locked file. Raises UserError if the file is damaged."""
    require_whole(file)
    options = {"connect_args": {"timeout": SECONDS_FOR_A_LOCKED_FILE}}
    return optuna.storages.RDBStorage(f"sqlite:///{file}", engine_kwargs=options)


def require_whole(file: Path) -> None:
    """Raise UserError if a file of studies is there and is not a whole SQLite file."""
    if not file.is_file():
        return
    try:
        with closing(sqlite3.connect(file, timeout=SECONDS_FOR_A_LOCKED_FILE)) as database:
            ((found,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise UserError(f"{file}: is damaged ({found}). Delete {file.parent} and search again (rule run_trials).")


def load_study(file: Path, name: str) -> optuna.Study:
    """The study `name` in a file. Raises UserError if the file is damaged, or does not have it."""
    try:
        return optuna.load_study(study_name=name, storage=storage(file))
    except KeyError:
        raise UserError(
            f"{file}: has no {name}, which the workers ran: it was deleted or replaced. Search again (rule run_trials)."
        ) from None


def counted_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, by number."""
    return study.get_trials(deepcopy=False, states=COUNTED)


def covered(intervals: list[list[float]]) -> float:
    """Length of the union of intervals [from, to]."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(intervals):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def make_sampler(seed: str) -> optuna.samplers.TPESampler:
    """TPE whose draw depends only on `seed` and the trials so far; running ones count as poor."""
    drawn = random.Random(seed).getrandbits(32)
    return optuna.samplers.TPESampler(
        seed=drawn, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    )


def make_pruner(name: str, folds: int, validations: int) -> optuna.pruners.BasePruner:
    """The pruner `hpo.pruner`; a trial has at most so many `validations` in each fold, at shares of its schedule."""
    between = SHARES // min(validations, SHARES)  # steps from one validation of the longest trial to the next
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=2 * between)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=between, max_resource=folds * SHARES, reduction_factor=3)
    return optuna.pruners.NopPruner()
