"""Check every row and image of the user's tables, and write the checked tables."""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config
from vqaflow.config.members import members_of, with_model
from vqaflow.config.sections import ColumnsConfig, section


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    outputs = {
        "train": (RESULTS.table("train"), "checked training table"),
        "test": (RESULTS.table("test"), "checked test table"),
        "problems": (RESULTS.problems, "list of problems"),
    }
    for name, (default, text) in outputs.items():
        parser.add_argument(f"--{name}-out", type=Path, default=default, help=f"{text} (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
    from vqaflow.model.resize_limits import resize_limits

    config = checked_config(*arguments.config)
    data = config["data"]
    raw = RawFiles(*(Path(data[key]) for key in ("train_csv", "test_csv", "sample_submission", "image_root")))
    settings = TableSettings(
        columns=section(ColumnsConfig, data["columns"]),
        on_bad_row=data["on_bad_row"],
        normal_form=config["prompt"]["normal_form"],
        max_image_pixels=data["max_image_pixels"],
        truncated_images=data["truncated_images"],
        follow_links=data["follow_links"],
        resize_limits=resize_limits(with_model(members_of(config))),
    )
    validate_tables(raw, settings, TableFiles(arguments.train_out, arguments.test_out, arguments.problems_out))
