"""Check any submission against the sample submission and the test table."""

import argparse
import json
from pathlib import Path

from vqaflow.runtime.stage import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("file", type=Path, help="the submission")
    parser.add_argument("--sample", type=Path, required=True, help="the sample submission (CSV)")
    parser.add_argument("--test", type=Path, required=True, help="the test table (CSV or parquet)")
    parser.add_argument(
        "--labels", type=Path, help="labels.json of validate_tables (default: answers are written like the sample's)"
    )
    parser.add_argument("--metrics", type=Path, help="metrics.json of evaluate_oof, to report its accuracy too")
    parser.add_argument("--out", type=Path, help="write the report here as JSON")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="refuse what competitions take: rows in another order than the sample's, and Windows line ends",
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.ensemble.submission.validate_submission import validate_submission

    report = validate_submission(
        submission=arguments.file,
        sample_submission=arguments.sample,
        test_table=arguments.test,
        metrics=arguments.metrics,
        out=arguments.out,
        labels=arguments.labels,
        strict=arguments.strict,
    )
    log.info("%s: valid. %s", arguments.file, json.dumps(report, ensure_ascii=False))
