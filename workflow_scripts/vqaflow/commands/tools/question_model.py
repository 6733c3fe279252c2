"""Train or measure the model of question types on questions that people have labelled.

check measures the model that comes with the code. train writes the package's weights.json again: the same rows give
the same file. evaluate measures by repeated grouped cross-validation, in which a question's wording is never in
training and test at once and the threshold is chosen within the training part.
"""

import argparse
from pathlib import Path

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.files import write_text
from vqaflow.runtime.stage import log

ACTIONS = {
    "check": "measure the model that comes with the code",
    "train": "train the model and write its weights",
    "evaluate": "measure by repeated cross-validation",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        action.add_argument("labelled", type=Path, help="CSV: id, question, a, b, c, d, qtype, flip_unsafe")
        if name == "train":
            action.add_argument("--out", type=Path, help="file to write (default: the package's weights.json)")
        elif name == "evaluate":
            action.add_argument("--repeats", type=int, default=5, help="repeats of the 10 folds (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.question_types.evaluation import cross_validated_report, report
    from vqaflow.question_types.labelled import read_labelled
    from vqaflow.question_types.training import fit, weights_text
    from vqaflow.question_types.weights import FILE, shipped_weights

    labelled = read_labelled(arguments.labelled)
    if arguments.action == "train":
        out = arguments.out or FILE
        write_text(out, weights_text(fit(labelled), labelled))
        log.info(
            "%s: written. If it is the package's own file, set SHA256 in question_types/weights.py beside it to %s",
            out,
            file_digest(out),
        )
    elif arguments.action == "check":
        print(report(labelled, shipped_weights()))
    else:
        print(cross_validated_report(labelled, arguments.repeats))
