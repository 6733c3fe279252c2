"""Write the label of the most probable choice for each id of the sample submission."""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument(
        "--test",
        type=Path,
        default=RESULTS.probabilities("test"),
        help="probabilities of the test rows (default: %(default)s)",
    )
    parser.add_argument(
        "--test-table",
        type=Path,
        default=RESULTS.table("test"),
        help="checked test table (default: %(default)s)",
    )
    parser.add_argument(
        "--labels", type=Path, default=RESULTS.labels, help="labels of the submission (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=RESULTS.submission, help="submission to write (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.ensemble.submission.write_submission import write_submission

    sample = Path(checked_config(*arguments.config)["data"]["sample_submission"])
    write_submission(
        test=arguments.test,
        sample_submission=sample,
        out=arguments.out,
        labels=arguments.labels,
        test_table=arguments.test_table,
    )
