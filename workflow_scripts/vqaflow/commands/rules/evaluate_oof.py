"""Measure accuracy on rows that no adapter has seen, and show where it fails."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import members_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)
    parser.add_argument("--out", type=Path, help="folder to write (default: evaluation in the results folder)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.evaluate_oof import evaluate_oof

    config, results = checked_config(*arguments.config), arguments.results
    members, folds = members_of(config), config["folds"]["n"]
    evaluate_oof(
        oof=results.probabilities("oof"),
        test=results.probabilities("test"),
        recipe=results.recipe,
        members=[results.member(name).folder for name in members],
        scores=[
            results.scores(member.name, "oof", part, view)
            for member in members.values()
            for part in member.parts("oof", folds)
            for view in member.scored_views("oof")
        ],
        adapters=[
            results.adapter(member.name, part) for member in members.values() for part in member.trained_parts(folds)
        ],
        train_table=results.table("train"),
        test_table=results.table("test"),
        folds=results.folds,
        out_dir=arguments.out or results.evaluation,
        searches=[
            results.search(member.name) / "best.yaml"
            for member in members.values()
            if config["hpo"]["enabled"] and member.trained_parts(folds)
        ],
    )
