"""Make a gallery of the test answers, the least certain first."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import members_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)
    parser.add_argument("--out", type=Path, help="page to write (default: answers/test_answers.html in the results)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.show_answers import show_answers

    config, results = checked_config(*arguments.config), arguments.results
    members, folds = members_of(config), config["folds"]["n"]
    show_answers(
        test=results.probabilities("test"),
        test_table=results.table("test"),
        submission=results.submission,
        members=[results.member(name).folder for name in members],
        scores=[
            results.scores(member.name, "test", part, view)
            for member in members.values()
            for part in member.parts("test", folds)
            for view in member.pooled_views
        ],
        out=arguments.out or results.test_answers,
    )
