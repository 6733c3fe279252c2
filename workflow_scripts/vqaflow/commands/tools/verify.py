"""Check whether a results folder is whole, consistent and free of leaks.

Reads every artifact and prints one line per check. Needs no base model, and changes nothing; images are checked if they
are here. Exit status 1 if a check fails.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("results", type=Path, help="the results folder of a run")
    parser.add_argument("--sample", type=Path, help="the sample submission, to compare the submission's order with")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from vqaflow.evaluation.verify.verify import verify

    whole = True
    for name, state, found in verify(arguments.results, arguments.sample):
        print(f"{state:7}  {name:11}  {found}", flush=True)
        whole &= state == "ok"
    return 0 if whole else 1
