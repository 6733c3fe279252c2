"""Rule run_trials: one worker of a hyper-parameter search, which takes trials from the shared study until none is left.

`python -m vqaflow.run_trials --help` runs a worker by hand; any number may run at once, on one machine or on several
that share the folder.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.config.sections import HpoConfig, section
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log
from vqaflow.search.space import outside, value_at
from vqaflow.search.study import SharedStudy
from vqaflow.search.trial import TrialTrainer
from vqaflow.search.worker import work_off
from vqaflow.training.checkpoints import stop_on_signals


def run_trials(
    *,
    table: Path,
    folds: Path,
    model: Mapping[str, Any],
    prompt: Mapping[str, Any],
    train: Mapping[str, Any],
    hpo: Mapping[str, Any],
    work: Path,
    bases: Path,
    out: Path,
) -> None:
    """Run trials until hpo.trials are finished in all or hpo.max_minutes are over; `out` tells which were run here.

    `hpo` is the section without `enabled` and `workers`. The study and the checkpoints of its trials stay in `work`,
    `bases` keeps quantised bases for later jobs.
    """
    settings = section(HpoConfig, hpo)
    trainer = TrialTrainer(
        table=table, folds=folds, model=model, prompt=prompt, train=train, hpo=settings, work=work.parent, bases=bases
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
