"""Check every row and image of the user's tables, and write the checked tables."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    folder = Path("results/tables")
    for name, file in (("train", "train.parquet"), ("test", "test.parquet"), ("problems", "problems.csv")):
        parser.add_argument(f"--{name}-out", type=Path, default=folder / file, help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.data.validate_tables import validate_tables

    config = checked_config(*arguments.config)
    data = {key: value for key, value in config["data"].items() if key != "demo"}
    files = {key: Path(data.pop(key)) for key in ("train_csv", "test_csv", "sample_submission", "image_root")}
    outputs = {f"{name}_out": getattr(arguments, f"{name}_out") for name in ("train", "test", "problems")}
    validate_tables(**files, **data, normal_form=config["prompt"]["normal_form"], **outputs)
