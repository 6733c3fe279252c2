"""Make the demo's tables and images from published packages."""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument("--out", type=Path, default=RESULTS.demo, help="folder to write (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.demo.prepare_demo import prepare_demo

    prepare_demo(demo=checked_config(*arguments.config)["data"]["demo"], out=arguments.out)
