"""Check every row and image of the user's tables, and write the checked tables."""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config
from vqaflow.config.members import least_max_tokens, members_of, with_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    outputs = {
        "train": (RESULTS.table("train"), "checked training table"),
        "test": (RESULTS.table("test"), "checked test table"),
        "problems": (RESULTS.problems, "list of problems"),
        "labels": (RESULTS.labels, "what the labels of answers stand for"),
    }
    for name, (default, text) in outputs.items():
        parser.add_argument(f"--{name}-out", type=Path, default=default, help=f"{text} (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
    from vqaflow.model.resize_limits import resize_limits

    config = checked_config(*arguments.config)
    models = with_model(members_of(config))
    given = config["data"] | {"normal_form": config["prompt"]["normal_form"], "max_tokens": least_max_tokens(models)}
    settings = TableSettings.read(given, resize_limits(models))
    outputs = (arguments.train_out, arguments.test_out, arguments.problems_out, arguments.labels_out)
    validate_tables(RawFiles.read(given), settings, TableFiles(*outputs))
