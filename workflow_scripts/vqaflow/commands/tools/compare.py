"""Compare two results folders on the rows that both have.

Prints accuracies, the paired gain of B over A (exact McNemar test, bootstrap over groups), by question type too, and
the rows that flipped; --out writes all of these rows.
"""

import argparse
from pathlib import Path

from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.stage import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("first", metavar="RUN_A", type=Path, help="a results folder")
    parser.add_argument("second", metavar="RUN_B", type=Path, help="another results folder")
    parser.add_argument("--out", type=Path, help="write all rows that flipped to this CSV file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.compare import compare
    from vqaflow.evaluation.comparison_text import describe

    found = compare(arguments.first, arguments.second)
    print("\n".join(describe(found)))
    if arguments.out is not None:
        with atomic_path(arguments.out) as partial:
            found.flips.to_csv(partial, index=False, lineterminator="\n")
        log.info("%d rows in %s", len(found.flips), arguments.out)
