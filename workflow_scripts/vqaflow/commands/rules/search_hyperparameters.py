"""Choose the best parameters that the workers of run_trials have found."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.search.search_hyperparameters import search_hyperparameters

    config, results = checked_config(*arguments.config), arguments.results
    if not results.workers():
        raise UserError(f"{results.search / 'workers'}: has no report of a worker. Run vqaflow run_trials first.")
    search_hyperparameters(
        workers=results.workers(),
        work=results.search_work,
        trials=config["hpo"]["trials"],
        best_out=results.search / "best.yaml",
        study_out=results.search / "study.db",
        figures_out=results.search / "figures",
    )
