"""Look at a competition's folder and at this machine, and write the settings of a first run.

vqaflow init FOLDER tells the tables by their columns, finds the images, how answers are written and who gave them. It
chooses the best base whose whole run fits on the card and into the hours, and writes my.yaml: few lines, each with its
reason. It says what it assumed and what it could not tell. It never overwrites a file, and needs no GPU or network.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import positive
from vqaflow.commands.tools.plan import card
from vqaflow.config.data_check import encoding_problems
from vqaflow.plan.cards import BY_NAME


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the unpacked folder with the tables and images")
    parser.add_argument("--output", type=Path, default=Path("my.yaml"), help="the file to write (default: %(default)s)")
    cards = f"plan for this GPU: one of {', '.join(BY_NAME)} (default: the GPU of this machine, else t4)"
    parser.add_argument("--card", type=card, help=cards)
    cards = "how many such GPUs (default: those of this machine; 1 with --card; without a GPU 2, as Kaggle has)"
    parser.add_argument("--cards", type=positive(int), help=cards)
    hours = "hours that the run may take (default: those of a Kaggle or Colab session, else 12)"
    parser.add_argument("--hours", type=positive(float), help=hours)
    parser.add_argument("--base", help="take this base, a folder or a hub name, instead of the best that fits")
    parser.add_argument("--train", type=Path, metavar="FILE", help="the training table, if another one was taken")
    parser.add_argument("--test", type=Path, metavar="FILE", help="the test table, if it is not found")
    parser.add_argument("--sample", type=Path, metavar="FILE", help="the sample submission, if it is not found")
    encoding = "the encoding of tables that are not UTF-8, such as gb18030 or cp1252, if it is not found"
    parser.add_argument("--encoding", type=encoding_name, metavar="NAME", help=encoding)
    root = "the folder that the tables' image paths start from, if it is not found"
    parser.add_argument("--image-root", type=Path, metavar="FOLDER", help=root)


def encoding_name(text: str) -> str:
    """An encoding that Python knows."""
    for problem in encoding_problems("", text):
        raise argparse.ArgumentTypeError(problem.removeprefix(": ").rstrip("."))
    return text


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.config.loading import load_config, shipped
    from vqaflow.data.competition.survey import survey
    from vqaflow.data.competition.tables import Named
    from vqaflow.plan.evening import Data
    from vqaflow.plan.first_choice import choose
    from vqaflow.plan.first_settings import NO_LIMIT_HOURS, FirstSettings, refuse_existing
    from vqaflow.plan.machine import find_machine

    refuse_existing([arguments.output])
    named = Named(arguments.train, arguments.test, arguments.sample, arguments.encoding)
    seen = survey(arguments.folder, named, arguments.image_root)
    machine = find_machine(arguments.card, arguments.cards)
    hours = arguments.hours or (machine.service.session_hours if machine.service else NO_LIMIT_HOURS)
    folds = load_config(shipped("config.yaml"))["folds"]["n"]
    data = Data(seen.rows, seen.roles.test.opened.rows, folds, seen.sizes, len(seen.roles.train.guess.choices))
    choice = choose(machine.card, machine.cards, data, hours, arguments.base)
    first = FirstSettings(arguments.output, seen, machine, choice, hours)
    report = first.report()
    first.write()
    print("\n".join(report))
