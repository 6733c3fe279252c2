"""Write a page with the current run beside the kept ones."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_results
from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_results(parser)
    parser.add_argument("--out", type=Path, help="page to write (default: runs.html in the results folder)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.runs.kept import kept_runs
    from vqaflow.evaluation.runs.page import runs_page

    folder = arguments.results.folder
    kept = {run.folder.name: run.folder for run in kept_runs(arguments.results)}
    if not kept:
        raise UserError(f"{folder}: no run is kept. Keep one with `vqaflow runs keep NAME`.")
    runs_page({"current": folder} | kept, arguments.out or folder / "runs.html")
