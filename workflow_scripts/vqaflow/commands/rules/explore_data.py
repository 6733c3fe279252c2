"""Show what the tables contain, as figures and numbers."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import explored_model, explored_views


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.data.exploration.explore_data import explore_data
    from vqaflow.data.images.visual_tokens import token_pixels

    config, results = checked_config(*arguments.config), arguments.results
    model = explored_model(config)
    explore_data(
        train=results.table("train"),
        test=results.table("test"),
        folds=results.folds,
        token_pixels=token_pixels(model["base"], model["revision"]),
        min_pixels=model["min_pixels"],
        max_pixels=model["max_pixels"],
        views=explored_views(config),
        out_dir=results.exploration,
    )
