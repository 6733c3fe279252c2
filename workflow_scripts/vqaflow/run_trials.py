"""Rule run_trials: one worker of a hyper-parameter search, which takes trials from the shared study until none is left.

`python -m vqaflow.run_trials --help` runs a worker by hand; any number may run at once, on one machine or on several
that share the folder.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.checkpoints import stop_on_signals
from vqaflow.config import HpoConfig, checked_config, section
from vqaflow.files import write_json
from vqaflow.gpu_lease import lease_gpu
from vqaflow.progress import log, stage
from vqaflow.search_space import outside, search_settings, value_at
from vqaflow.search_study import SharedStudy
from vqaflow.search_trial import TrialTrainer
from vqaflow.search_worker import work_off


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


def main() -> None:
    """Run one worker by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.run_trials", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--worker", type=int, default=0, help="its number: another one for each worker at a time")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of tables and folds")
    arguments = parser.parse_args()
    results = arguments.results
    with stage(None):
        config = checked_config(*arguments.config)
        lease_gpu()  # torch is imported, but has not asked for a GPU yet
        run_trials(
            table=results / "tables" / "train.parquet",
            folds=results / "folds.parquet",
            model=config["model"],
            prompt=config["prompt"],
            train=config["train"],
            hpo=search_settings(config["hpo"]),
            work=results / "work" / "hpo",
            bases=results / "base",
            out=results / "hpo" / "workers" / f"worker{arguments.worker}.json",
        )


if __name__ == "__main__":
    main()
