"""Give each question of a table its type, and say which images not to mirror."""

import argparse
from pathlib import Path

from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("table", type=Path, metavar="IN.csv", help="CSV with the columns id, question, a, b, c and d")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.csv", help="id, qtype and flip_unsafe (0 or 1)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.question_types.tables import type_table

    table, out = arguments.table, arguments.out
    if out.resolve() == table.resolve():
        raise UserError(f"{out}: this is the input table, which would be overwritten. Name another file for --out.")
    type_table(table, out)
