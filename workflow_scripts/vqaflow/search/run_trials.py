"""Rule run_trials: one worker of a hyper-parameter search, which takes trials from the shared study until none is left.

`vqaflow run_trials` runs a worker by hand; any number may run at once, on one machine or on several that share the
folder.
"""

from pathlib import Path

from vqaflow.runtime.code_digest import code_digest
from vqaflow.runtime.files import write_json
from vqaflow.runtime.stage import log
from vqaflow.search.space import outside, value_at
from vqaflow.search.study import SharedStudy
from vqaflow.search.trial import TrialInputs, TrialTrainer
from vqaflow.search.worker import work_off
from vqaflow.training.checkpoints import stop_on_signals


def run_trials(inputs: TrialInputs, work: Path, out: Path) -> None:
    """Run trials until hpo.trials are finished in total or hpo.max_minutes are over; `out` lists those run here.

    The study and the checkpoints of its trials stay in `work`.
    """
    train = inputs.train
    trainer = TrialTrainer(inputs)
    # The code of this module, not only the trainer's: how parameters are drawn counts too.
    identity = trainer.identity() | {"code": code_digest(__file__)}
    study = SharedStudy(
        work, identity, trainer.dimensions, trainer.start, inputs.hpo, trainer.validations, worker=out.stem
    )
    if keys := outside(trainer.dimensions, train):
        log.warning(
            "the configuration as it stands is not among the trials: hpo.space does not contain train's own %s. Add "
            "these values to compare with it",
            ", ".join(f"{key} {value_at(train, key)}" for key in keys),
        )
    saw = [fold.described() for fold in trainer.folds]
    study.study.set_user_attr("saw", saw)
    study.study.set_user_attr("groups", trainer.held_out_groups)
    for fold in saw:
        log.info("fold {fold}: {training_rows} of {of} rows to train on, {held_out_rows} to measure on".format(**fold))
    with stop_on_signals() as request:
        work_off(study, trainer.value, request)
    write_json(out, {"study": study.name, "trials": study.finished_here()})
