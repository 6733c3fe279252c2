"""Run one worker of a hyper-parameter search until no trial is left.

Any number of workers may run at once, on one machine or on several that share the folder.
"""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.sections import HpoConfig, entries
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument("--worker", type=int, default=0, help="its number, different for workers that run at once")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results = checked_config(*arguments.config), arguments.results
    lease_gpu()
    from vqaflow.search.run_trials import run_trials  # imports torch, which must see the leased GPU only

    run_trials(
        table=results.table("train"),
        folds=results.folds,
        model=config["model"],
        prompt=config["prompt"],
        train=config["train"],
        hpo=entries(HpoConfig, config["hpo"]),
        work=results.search_work,
        bases=results.bases,
        out=results.worker(arguments.worker),
    )
