"""Write probabilities, rows, tasks or an adapter of a run for other programs.

probabilities: the ensemble's (or a member's) OOF and test probabilities as CSV or npz, with ids. vqaflow reads such
files back as a member (`probabilities: {oof: FILE, test: FILE}`), and so can anyone else.
llama-factory, ms-swift: the rows of each fold as conversations in JSON Lines, and how to train on them.
lmms-eval: the training rows as tasks, to measure any model on exactly these questions.
adapter: a copy whose configuration lists its modules by name, as SGLang wants them.

Nothing that exists is replaced without --force. docs/exchange.md has examples.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.runtime.stage import log

OF_ROWS = {
    "llama-factory": "rows and folds for LLaMA-Factory",
    "ms-swift": "rows and folds for ms-swift",
    "lmms-eval": "tasks for lmms-eval",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="what", required=True)
    probabilities = actions.add_parser("probabilities", help="the ensemble's or a member's probabilities, with ids")
    which = "a member of the run (default: the ensemble of all)"
    probabilities.add_argument("--member", metavar="NAME", help=which)
    splits = "the training rows (oof: each answered by a model that has not seen it), the test rows, or both (default)"
    probabilities.add_argument("--split", choices=["oof", "test", "both"], default="both", help=splits)
    out = "a .csv (id, p_a, …) or .npz (ids, avg) with {split} in its name, such as 'mine_{split}.npz'; or a folder"
    probabilities.add_argument("--out", type=Path, required=True, metavar="PATH", help=out)
    for name, text in OF_ROWS.items():
        action = actions.add_parser(name, help=text)
        add_config(action)
        member = "the member whose prompt and settings are written (default: the only one of the configuration)"
        action.add_argument("--member", metavar="NAME", help=member)
        action.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    adapter = actions.add_parser("adapter", help="an adapter, its modules listed by name")
    adapter.add_argument("adapter", type=Path, help="such as results/adapters/main/fold0")
    adapter.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    for action in actions.choices.values():
        add_results(action)
        action.add_argument("--force", action="store_true", help="replace an earlier export")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.what == "probabilities":
        from vqaflow.evaluation.export.probabilities import export_probabilities

        given = (arguments.member, arguments.split, arguments.out, arguments.force)
        export_probabilities(arguments.results, *given)
        return
    if arguments.what == "adapter":
        from vqaflow.evaluation.export.adapter import export_adapter

        count = export_adapter(arguments.adapter, arguments.out, arguments.force)
        log.info("%s: %d modules by name", arguments.out, count)
        return
    from vqaflow.config.loading import checked_config
    from vqaflow.config.members import member_named, members_of
    from vqaflow.config.sections import AnswersConfig, entries, section

    config = checked_config(*arguments.config)
    member = member_named(members_of(config), arguments.member)
    answers = section(AnswersConfig, entries(AnswersConfig, config["data"]))
    if arguments.what == "lmms-eval":
        from vqaflow.evaluation.export.lmms_task import export_lmms_eval

        export_lmms_eval(arguments.results, member, arguments.out, arguments.force, answers)
    else:
        from vqaflow.evaluation.export.chats import EXPORTS

        EXPORTS[arguments.what](arguments.results, member, arguments.out, arguments.force, answers)
