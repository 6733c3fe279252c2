"""Split the training rows into leak-free folds."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.data.folds.make_folds import make_folds

    results = arguments.results
    make_folds(
        train=results.table("train"),
        test=results.table("test"),
        **checked_config(*arguments.config)["folds"],
        folds_out=results.folds,
        report_out=results.fold_report,
    )
