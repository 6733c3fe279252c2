"""Options that several commands share, and the paths that they mean."""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder


def add_config(parser: argparse.ArgumentParser) -> None:
    """`--config FILE …`: files that override the workflow's config.yaml."""
    parser.add_argument(
        "--config",
        nargs="+",
        type=Path,
        default=[Path("config.yaml")] if Path("config.yaml").is_file() else [],
        metavar="FILE",
        help="files that override the workflow's config.yaml, like Snakemake's --configfile; the last file wins",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """`--results FOLDER`: where earlier stages have written and this one writes."""
    parser.add_argument(
        "--results",
        type=lambda path: ResultsFolder(Path(path)),
        default=ResultsFolder(Path("results")),
        metavar="FOLDER",
        help="the folder of all artifacts (default: results)",
    )
