"""Rule run_trials: one worker of a hyper-parameter search, which takes trials from the shared study until none is left.

`python -m vqaflow.run_trials --help` runs a worker by hand; any number may run at once, on one machine or on several
that share the folder.
"""

import argparse
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import optuna

from vqaflow.checkpoints import StopRequest, stop_on_signals
from vqaflow.config import HpoConfig, load_config, section
from vqaflow.config_check import check_config
from vqaflow.errors import NotFinite, OutOfMemory
from vqaflow.files import write_json
from vqaflow.progress import log, stage
from vqaflow.search_space import outside, search_settings, value_at
from vqaflow.search_study import Claim, SharedStudy
from vqaflow.search_trial import Report, TrialTrainer

REASONS = {optuna.TrialPruned: "pruner", NotFinite: "not finite", OutOfMemory: "out of memory"}


class Objective(Protocol):
    """What a trial is worth: the accuracy of each fold; see TrialTrainer.value."""

    def __call__(self, parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[float]:
        """Value one set of parameters."""


class SearchStop(StopRequest):
    """A request to stop that also comes when the time budget of the search is used up."""

    def __init__(self, request: StopRequest, seconds: float | None) -> None:
        self.request = request
        self.deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def signal(self) -> int | None:
        """The signal that came, or SIGALRM for the end of the budget."""
        return self.request.signal or (signal.SIGALRM if self.is_late else None)

    @property
    def is_late(self) -> bool:
        """Whether the budget is used up."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def run_trials(
    *,
    table: Path,
    folds: Path,
    model: Mapping[str, Any],
    prompt: Mapping[str, Any],
    train: Mapping[str, Any],
    hpo: Mapping[str, Any],
    work: Path,
    out: Path,
) -> None:
    """Run trials until hpo.trials are finished in all or hpo.max_minutes are over; `out` tells which were run here.

    `hpo` is the section without `enabled` and `workers`. The study and the checkpoints of its trials stay in `work`.
    """
    settings = section(HpoConfig, hpo)
    trainer = TrialTrainer(
        table=table, folds=folds, model=model, prompt=prompt, train=train, hpo=settings, work=work.parent
    )
    study = SharedStudy(
        work, trainer.identity(), trainer.dimensions, trainer.start, settings, trainer.steps, worker=out.stem
    )
    if keys := outside(trainer.dimensions, train):
        log.warning(
            "the configuration as it stands is no trial, since hpo.space leaves out train's %s",
            ", ".join(f"{key} {value_at(train, key)}" for key in keys),
        )
    saw = [fold.described() for fold in trainer.folds]
    study.study.set_user_attr("saw", saw)
    for fold in saw:
        log.info("fold {fold}: {training_rows} of {of} rows to train on, {held_out_rows} to measure on".format(**fold))
    with stop_on_signals() as request:
        work_off(study, trainer.value, [fold["held_out_rows"] for fold in saw], request)
    write_json(out, {"study": study.name, "trials": study.finished_here()})


def work_off(study: SharedStudy, objective: Objective, rows: list[int], request: StopRequest) -> None:
    """Claim, value and finish trials until none is left, the budget is used up or a signal comes (SystemExit).

    `rows` are the numbers of rows behind the accuracies that `objective` returns.
    """
    stop = SearchStop(request, study.seconds_left())
    while not stop.signal and (claim := study.claim()):
        try:
            run_trial(study, claim, objective, rows, stop)
        except SystemExit:
            study.leave(claim, in_order=True)
        except BaseException:
            study.leave(claim, in_order=False)
            raise
    if request.signal:
        raise SystemExit(128 + request.signal)
    if stop.is_late:
        log.info("hpo.max_minutes are over; raise it, and the search goes on where it stopped")


def run_trial(study: SharedStudy, claim: Claim, objective: Objective, rows: list[int], stop: StopRequest) -> None:
    """Value one claimed trial and count it: complete, or pruned with the reason."""
    reported = study.reported_steps(claim)  # by the worker that the trial was taken over from

    def report(step: int, accuracy: float) -> None:
        study.note_time()
        if step not in reported:
            claim.trial.report(accuracy, step)
        if step >= max(reported, default=0) and claim.trial.should_prune():
            raise optuna.TrialPruned(f"accuracy {accuracy:.4f} at validation {step} is too low to go on")

    number = claim.trial.number
    log.info("trial %d (%d are wanted): %s", number, study.hpo.trials, claim.parameters)
    try:
        accuracies = objective(claim.parameters, claim.folder, report, stop)
    except (optuna.TrialPruned, NotFinite, OutOfMemory) as error:
        reason = f"{REASONS[type(error)]}: {error}"
        log.info("trial %d is pruned (%s)", number, reason)
        study.finish(claim, None, reason)
    else:
        right, n = sum(round(a * count) for a, count in zip(accuracies, rows, strict=True)), sum(rows)
        claim.trial.set_user_attr("folds", accuracies)
        claim.trial.set_user_attr("right", right)
        claim.trial.set_user_attr("n", n)
        log.info("trial %d: accuracy %.4f (%d of %d)", number, right / n, right, n)
        study.finish(claim, right / n)
    shutil.rmtree(claim.folder, ignore_errors=True)


def main() -> None:
    """Run one worker by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.run_trials", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--schema", type=Path, default=Path("schemas/config.schema.yaml"), help="of the configuration")
    parser.add_argument("--worker", type=int, default=0, help="its number: another one for each worker at a time")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of tables and folds")
    arguments = parser.parse_args()
    results = arguments.results
    with stage(None):
        config = load_config(*arguments.config)
        check_config(config, arguments.schema)
        run_trials(
            table=results / "tables" / "train.parquet",
            folds=results / "folds.parquet",
            model=config["model"],
            prompt=config["prompt"],
            train=config["train"],
            hpo=search_settings(config["hpo"]),
            work=results / "work" / "hpo",
            out=results / "hpo" / "workers" / f"worker{arguments.worker}.json",
        )


if __name__ == "__main__":
    main()
