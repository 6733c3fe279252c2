"""Options that several commands share, and the paths that they mean."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS, ResultsFolder


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config FILE …`: files that override the workflow's config.yaml."""
    parser.add_argument(
        "--config",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files that override the workflow's config.yaml, like Snakemake's --configfile; the last file wins "
        "(default: config.yaml in the current folder, if there is one)",
    )


def add_member(parser: argparse.ArgumentParser) -> None:
    """`--member NAME`: one of `members` in the configuration."""
    parser.add_argument(
        "--member", metavar="NAME", help="a name under members in the configuration (default: the only one)"
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """`--results FOLDER`: where earlier stages have written and this one writes."""
    parser.add_argument(
        "--results",
        type=lambda path: ResultsFolder(Path(path)),
        default=RESULTS,
        metavar="FOLDER",
        help="the folder of all artifacts (default: results)",
    )


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An option's type: a number above 0."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    number.__name__ = "whole number" if kind is int else "number"  # the name that argparse shows
    return number
