"""Make the demo's tables and images from published packages."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.demo.prepare_demo import prepare_demo

    prepare_demo(demo=checked_config(*arguments.config)["data"]["demo"], out=arguments.results.demo)
