"""Show what tuning and ensembling gained on the demo's held-out rows.

Reads a finished demo and its answers, which no rule reads. Exit status 1 if the ensemble does not reach the accuracy
and gain that the demo promises. With data.demo.shuffle_answers it is the control: expect chance.
"""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    config = checked_config(*arguments.config)
    from vqaflow.demo.gain import demo_gain

    return 0 if demo_gain(config, arguments.results.folder) else 1
