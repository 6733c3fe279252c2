"""Run a command so that it ends before its session does, and goes on in the next one.

vqaflow session --hours 11.5 --keep /kaggle/working/kept -- snakemake --configfile my.yaml

It stops the command `--margin` minutes before the hours are over, or when it is itself interrupted: trainings write
their checkpoints. What is finished or half-done is kept in `--keep`, also every few minutes before. A later session
with `--from` brings it back and makes nothing again that is finished.

Exit status: 0 if the command finished; 75 if it was stopped in time and goes on in the next session; else that of the
command.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import positive
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.session.bounded import Limits, Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    hours = "hours from now after which the session ends"
    parser.add_argument("--hours", type=positive(float), required=True, help=hours)
    kept = "a folder that outlives the machine, for results, checkpoints and the store"
    parser.add_argument("--keep", type=Path, required=True, metavar="FOLDER", help=kept)
    source = "the --keep of an earlier session; it is not read if results are here already"
    parser.add_argument("--from", type=Path, dest="source", metavar="FOLDER", help=source)
    margin = "minutes before the end, for stopping and keeping (default: %(default)g)"
    parser.add_argument("--margin", type=positive(float), default=20.0, help=margin)
    every = "minutes between two keeps while the command runs (default: %(default)g)"
    parser.add_argument("--every", type=positive(float), default=10.0, help=every)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="what to run, in this folder")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UserError("vqaflow session: no command is given. Write it after --, such as -- snakemake.")
    limits = Limits(3600 * arguments.hours, 60 * arguments.margin, 60 * arguments.every)
    session = Session(command, limits, arguments.keep, Path())
    session.bring_back(arguments.source)
    return session.run()
