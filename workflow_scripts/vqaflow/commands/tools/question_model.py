"""Train or measure the model of question types on questions that people have labelled.

check measures the model that comes with the code. train writes the package's weights.json again: the same rows give
the same file. evaluate measures models on questions that they were not trained on: for each file one that was trained
on the other files, and for all of them together by cross-validation, in which near-same questions share a fold.

Shapes: N questions.
"""

import argparse
from pathlib import Path

from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.files import write_text
from vqaflow.runtime.stage import log

ACTIONS = {
    "check": "measure the model that comes with the code",
    "train": "train the model and write its weights",
    "evaluate": "measure models on files, and on folds, that they were not trained on",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        columns = "CSV: id, qtype, flip_unsafe; and question, a, b, … unless --text has them"
        action.add_argument("labelled", type=Path, nargs="+", help=columns)
        action.add_argument("--text", type=Path, nargs="+", default=[], help="tables with question and choices by id")
        if name == "train":
            action.add_argument("--out", type=Path, help="file to write (default: the package's weights.json)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.question_types.evaluation import cross_validate, judge, table, transfer
    from vqaflow.question_types.labelled import read_labelled
    from vqaflow.question_types.training import fit, weights_text
    from vqaflow.question_types.weights import FILE, shipped_weights

    if arguments.action == "check":
        read = {path.stem: read_labelled([path], arguments.text) for path in arguments.labelled}
        print(table({name: judge(labelled, shipped_weights()) for name, labelled in read.items()}))
        return
    labelled = read_labelled(arguments.labelled, arguments.text)
    if arguments.action == "train":
        out = arguments.out or FILE
        write_text(out, weights_text(fit(labelled), labelled))
        log.info(
            "%s: written. If it is the package's own file, set SHA256 in question_types/weights.py beside it to %s",
            out,
            file_digest(out),
        )
        return
    names = [path.stem for path in arguments.labelled]
    across = {
        f"{name}, trained on the others": transfer(labelled, name) for name in names[: len(names) * (len(names) > 1)]
    }
    folded = cross_validate(labelled)
    within = {f"{name}, cross-validated": folded.take(labelled.sources_N == name) for name in names}
    print(table(across | within))
