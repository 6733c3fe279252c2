"""Advise on which files to select at the end of a competition.

Candidates are the current submission, each member alone, the plain mean of the members, that mean without each member,
and the FILES: earlier submissions, or kept runs by name. It prints how many test answers differ, how far chance alone
moves public scores, which OOF differences are more than noise, and the files to pick: the best one, and one that errs
elsewhere.
"""

import argparse
from decimal import Decimal
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.commands.options import add_results
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a submission CSV, a kept run's name or a results folder"
    )
    add_results(parser)
    parser.add_argument("--share", type=float, default=0.5, help="share of the test rows that is public (default: 0.5)")
    parser.add_argument(
        "--public",
        nargs="+",
        default=[],
        metavar="FILE=SCORE",
        help="known public scores, such as current=0.941, main=0.93 (a member) or old.csv=0.938",
    )
    parser.add_argument("--tried", type=int, default=0, help="submissions made so far, if more than in --public")
    parser.add_argument("--count", type=int, default=2, help="number of final selections (default: 2)")
    parser.add_argument("--out", type=Path, help="write the advice as a page to this HTML file")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the picks as files into this folder")
    parser.add_argument("--json", type=Path, help="write the advice to this JSON file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from dataclasses import asdict

    from vqaflow.ensemble.submission.answers import accepted_of_run
    from vqaflow.evaluation.picks.advise import advise
    from vqaflow.evaluation.picks.candidates import read_candidates
    from vqaflow.evaluation.picks.files import write_picks
    from vqaflow.evaluation.picks.page import write_page
    from vqaflow.evaluation.picks.wording import described
    from vqaflow.runtime.files import write_json

    if arguments.count < 1:
        raise UserError(f"--count {arguments.count}: is not a number of selections. Give 1 or more.")
    results = arguments.results
    scores = [public_score(text) for text in arguments.public]
    named = [*arguments.files, *(name for name, *_ in scores if name.endswith(".csv"))]
    runs, files = sort_out(list(dict.fromkeys(named)), results)
    accepted = accepted_of_run(results.labels, results.table("test"))
    found = read_candidates(
        train_table=results.table("train"),
        test_table=results.table("test"),
        folds=results.folds,
        oof=results.probabilities("oof"),
        test=results.probabilities("test"),
        members={name: results.member(name).folder for name in results.members()},
        runs=runs,
        files=files,
        accepted=accepted,
    )
    public = {found.place(name): score for name, score, _ in scores}
    step = max((step for _, _, step in scores), default=0.0)
    advice = advise(found, arguments.share, public, arguments.count, arguments.tried, step)
    print("\n".join(described(advice)))
    if arguments.out is not None:
        write_page(advice, arguments.out)
        log.info("%s: written", arguments.out)
    if arguments.write is not None:
        for file in write_picks(advice, found, results.submission, accepted, arguments.write):
            log.info("%s: written", file)
    if arguments.json is not None:
        write_json(arguments.json, asdict(advice))


def sort_out(names: list[str], results: ResultsFolder) -> tuple[dict[str, Path], list[Path]]:
    """The kept runs or results folders among `names`, by name, and the submission files."""
    from vqaflow.evaluation.runs.kept import find_run

    files = [Path(name) for name in names if Path(name).is_file() or name.endswith(".csv")]
    return {name: find_run(results, name) for name in names if Path(name) not in files}, files


def public_score(text: str) -> tuple[str, float, float]:
    """FILE, the score as a share, and its step of FILE=SCORE; 94.1 means 94.1 %.

    The step is that of the last decimal typed, as a share: 0.001 of 0.941 and of 94.1, and 0.01 of whole numbers.
    """
    name, _, number = text.rpartition("=")
    try:
        score = float(number.removesuffix("%"))
    except ValueError:
        score = -1.0
    percent = score > 1 or number.endswith("%")
    score = score / 100 if percent else score
    if not name or not 0 <= score <= 1:
        raise UserError(f"--public {text}: is not FILE=SCORE. Give an accuracy such as old.csv=0.941.")
    decimals = max(0, -Decimal(number.removesuffix("%")).as_tuple().exponent)
    return name, score, 10.0 ** -(decimals + 2 * (percent or not decimals))
