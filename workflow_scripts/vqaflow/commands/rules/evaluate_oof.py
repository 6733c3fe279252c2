"""Measure accuracy on rows that no adapter has seen, and show where it fails."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_results(parser)
    parser.add_argument("--out", type=Path, help="folder to write (default: evaluation in the results folder)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.evaluate_oof import evaluate_oof

    results = arguments.results
    evaluate_oof(
        oof=results.probabilities("oof"),
        test=results.probabilities("test"),
        scores=results.all_scores(),
        train_table=results.table("train"),
        test_table=results.table("test"),
        folds=results.folds,
        recipe=results.recipe,
        adapters=results.adapters(),
        out_dir=arguments.out or results.evaluation,
    )
