"""Pool all members into one calibrated probability for each choice."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import members_of
from vqaflow.config.sections import EnsembleConfig, entries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities

    config, results = checked_config(*arguments.config), arguments.results
    ensemble_probabilities(
        members=[results.member(name).folder for name in members_of(config)],
        train=results.table("train"),
        test=results.table("test"),
        folds=results.folds,
        ensemble=entries(EnsembleConfig, config["ensemble"]),
        oof_out=results.probabilities("oof"),
        test_out=results.probabilities("test"),
        recipe_out=results.recipe,
    )
