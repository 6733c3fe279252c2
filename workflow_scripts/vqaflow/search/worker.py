"""What one worker of a search does: claim a trial of the shared study, evaluate it, count it, until none is left."""

import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import optuna

from vqaflow.runtime.errors import NotFinite, OutOfMemory
from vqaflow.runtime.stage import log
from vqaflow.search.shares import SHARES, Curve
from vqaflow.search.space import Report
from vqaflow.search.study import Claim, SharedStudy
from vqaflow.training.checkpoints import StopRequest

REASONS = {optuna.TrialPruned: "pruner", NotFinite: "not finite", OutOfMemory: "out of memory"}


class Objective(Protocol):
    """The value of a trial: of each fold, how right each held-out row is; see TrialTrainer.value."""

    def __call__(
        self, parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest
    ) -> list[list[float]]:
        """Evaluate one set of parameters."""


class SearchStop(StopRequest):
    """A request to stop that is also made when the time budget of the search is used up."""

    def __init__(self, request: StopRequest, seconds: float | None) -> None:
        self.request = request
        self.deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def signal(self) -> int | None:
        """The signal that arrived, or SIGALRM for the end of the budget."""
        return self.request.signal or (signal.SIGALRM if self.is_late else None)

    @property
    def is_late(self) -> bool:
        """Whether the budget is used up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def work_off(study: SharedStudy, objective: Objective, request: StopRequest) -> None:
    """Claim, evaluate and finish trials until none is left, the budget is used up or a signal arrives (SystemExit)."""
    stop = SearchStop(request, study.seconds_left())
    while not stop.signal and (claim := study.claim()):
        try:
            run_trial(study, claim, objective, stop)
        except SystemExit:
            study.leave(claim, in_order=True)
        except BaseException:
            study.leave(claim, in_order=False)
            raise
    if request.signal:
        raise SystemExit(128 + request.signal)
    if stop.is_late:
        log.info("hpo.max_minutes: the time is used up. Raise it and run the search again to resume where it stopped")


def run_trial(study: SharedStudy, claim: Claim, objective: Objective, stop: StopRequest) -> None:
    """Evaluate one claimed trial and count it: complete, or pruned with the reason."""
    reported = study.reported(claim)  # by the worker that the trial was taken over from
    curve = Curve(*max(reported.items(), default=(0, 0.0)))

    def report(step: int, accuracy: float) -> None:
        study.note_time()
        for at, value in curve.until(step, accuracy):
            if at not in reported:
                claim.trial.report(value, at)
        if step >= max(reported, default=0) and claim.trial.should_prune():
            share = f"{step / SHARES:.0%} of the folds' schedules"
            raise optuna.TrialPruned(f"accuracy {accuracy:.4f} after {share} is too low to continue")

    number = claim.trial.number
    log.info("trial %d (hpo.trials: %d): %s", number, study.hpo.trials, claim.parameters)
    try:
        right = objective(claim.parameters, claim.folder, report, stop)
    except (optuna.TrialPruned, NotFinite, OutOfMemory) as error:
        reason = f"{REASONS[type(error)]}: {error}"
        log.info("trial %d is pruned (%s)", number, reason)
        study.finish(claim, None, reason)
    else:
        count, n = round(sum(map(sum, right))), sum(map(len, right))
        claim.trial.set_user_attr("folds", [sum(rows) / len(rows) for rows in right])
        claim.trial.set_user_attr("rows", [[int(row) if row in (0, 1) else row for row in rows] for rows in right])
        claim.trial.set_user_attr("right", count)
        claim.trial.set_user_attr("n", n)
        log.info("trial %d: accuracy %.4f (%d of %d)", number, count / n, count, n)
        study.finish(claim, count / n)
    shutil.rmtree(claim.folder, ignore_errors=True)
