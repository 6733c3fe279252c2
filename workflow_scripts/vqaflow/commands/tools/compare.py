"""Compare two results folders on the rows that both have, or two sets of them.

Prints accuracies, the paired gain of B over A (sign-flip test and bootstrap of whole groups), by question type too, and
the rows that flipped; --out writes all of these rows.

compare A1 A2 A3 --seeds B1 B2 B3: two settings, each with runs of several training seeds. Only this says whether the
setting is better; two runs may also differ by their seeds.
"""

import argparse
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.stage import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="results folders: A and B; with --seeds, set A"
    )
    parser.add_argument("--seeds", metavar="RUN", nargs="+", type=Path, help="results folders of set B")
    parser.add_argument("--out", type=Path, help="write all rows that flipped to this CSV file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.seeds is not None:
        compare_two_sets(arguments)
        return
    if len(arguments.runs) != 2:
        raise UserError(
            f"vqaflow compare: {len(arguments.runs)} runs are given. Give two, or two sets: A1 A2 --seeds B1 B2."
        )
    from vqaflow.evaluation.compare import compare
    from vqaflow.evaluation.comparison_text import describe

    found = compare(*arguments.runs)
    print("\n".join(describe(found)))
    if arguments.out is not None:
        with atomic_path(arguments.out) as partial:
            found.flips.to_csv(partial, index=False, lineterminator="\n")
        log.info("%d rows in %s", len(found.flips), arguments.out)


def compare_two_sets(arguments: argparse.Namespace) -> None:
    """Print how two sets of runs compare."""
    from vqaflow.evaluation.runs.seed_sets import compare_sets, described

    if arguments.out is not None:
        raise UserError("vqaflow compare: --out lists the rows that flip between two runs. Leave it out with --seeds.")
    print("\n".join(described(compare_sets(arguments.runs, arguments.seeds))))
