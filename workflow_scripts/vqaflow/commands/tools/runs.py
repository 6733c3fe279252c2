"""Keep finished runs under a name, list them, and compare several.

`runs` lists them. `runs keep NAME` keeps the finished run that is in results/, with links, so that it takes little
space. `runs drop NAME` removes a kept one. `runs A B …` compares kept runs, `current` and results folders with the
first one.
"""

import argparse
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.commands.options import add_results
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

ACTIONS = ("keep", "drop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="keep NAME, drop NAME, or the runs to compare")
    add_results(parser)
    parser.add_argument("--force", action="store_true", help="keep: replace a kept run of this name")
    parser.add_argument("--html", type=Path, help="compare: write a page to this file")
    parser.add_argument("--csv", type=Path, help="compare: write a table to this file, one line per run")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.evaluation.runs.kept import drop, keep, kept_runs
    from vqaflow.evaluation.runs.wording import listed

    names, results = arguments.names, arguments.results
    if names and names[0] in ACTIONS:
        if len(names) != 2:
            raise UserError(f"runs {names[0]}: takes one name, not {len(names) - 1}. Give a name without spaces.")
        if names[0] == "keep":
            print(f"{names[1]}: {keep(results, names[1], arguments.force)}")
        else:
            print(f"{names[1]}: dropped, {drop(results, names[1]) / 1e6:.1f} MB freed")
    elif names:
        show(arguments, results)
    else:
        print("\n".join(listed(kept_runs(results))))


def show(arguments: argparse.Namespace, results: ResultsFolder) -> None:
    """Compare the runs that are named."""
    from vqaflow.evaluation.runs.comparison import as_frame, compare_runs
    from vqaflow.evaluation.runs.kept import find_run
    from vqaflow.evaluation.runs.page import write_page
    from vqaflow.evaluation.runs.wording import described
    from vqaflow.runtime.files import atomic_path

    found = compare_runs({name: find_run(results, name) for name in arguments.names})
    print("\n".join(described(found)))
    if arguments.html is not None:
        write_page(found, arguments.html)
        log.info("%s: written", arguments.html)
    if arguments.csv is not None:
        with atomic_path(arguments.csv) as partial:
            as_frame(found).to_csv(partial, index=False, lineterminator="\n")
        log.info("%s: written", arguments.csv)
