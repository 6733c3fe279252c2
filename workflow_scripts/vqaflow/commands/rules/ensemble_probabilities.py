"""Pool all scores into one calibrated probability for each choice."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities

    settings, results = checked_config(*arguments.config)["ensemble"], arguments.results
    ensemble_probabilities(
        scores=results.all_scores(),
        train=results.table("train"),
        test=results.table("test"),
        folds=results.folds,
        ensemble=settings,
        oof_out=results.probabilities("oof"),
        test_out=results.probabilities("test"),
        recipe_out=results.recipe,
    )
