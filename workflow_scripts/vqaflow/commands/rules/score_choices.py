"""Score the choices of one fold's rows, or of the test rows, in one view."""

import argparse
import re
from pathlib import Path

from vqaflow.artifacts.parts import BASE, PART, fold_of
from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, UNTUNED, member_named, members_of, require_kind
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpus
from vqaflow.runtime.messages import did_you_mean


def part(text: str) -> str:
    """An option's type: what a folder of scores is called behind `fold`."""
    if not re.fullmatch(PART, text):
        raise argparse.ArgumentTypeError(f"{text} is not a fold: write 0, 1, …, 0-seed7, all or base")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    parser.add_argument("--split", choices=["oof", "test"], required=True, help="rows to score")
    parser.add_argument("--fold", type=part, help="fold of the adapter; an untuned member has none")
    parser.add_argument("--view", help="a key of views in the configuration (default: the one that train.view names)")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results = checked_config(*arguments.config), arguments.results
    member = member_named(members_of(config), arguments.member)
    require_kind(member, (TUNED, UNTUNED), "score")
    split, name = arguments.split, arguments.view or member.main_view
    fold = arguments.fold or (None if member.kind == TUNED else BASE)
    if fold is None:
        raise UserError(f"--fold: name one of {', '.join(member.parts(split, config['folds']['n']))}.")
    if fold not in (possible := member.parts(split, config["folds"]["n"])):
        raise UserError(f"--fold {fold}: {member.name} has no such {split} scores. Name one of {', '.join(possible)}.")
    if name not in member.views:
        raise UserError(f"--view {name}: the configuration has no such view; {did_you_mean(name, member.views)}")
    view, main = member.rendering(name), member.main_view
    lease_gpus(member.devices, key="model.devices")
    from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
    from vqaflow.scoring.selection import RowsToScore, Task

    adapter = results.adapter(member.name, fold)
    out = results.scores(member.name, split, fold, name)
    work = results.scoring_work(member.name, split, fold, name)
    score_choices(
        task=Task.of(name, member.model, member.prompt, view, member.orders, main),
        rows=RowsToScore(
            results.table_of(split),
            results.folds if split == "oof" and fold_of(fold) is not None else None,
            fold,
            results.scores(member.name, split, fold, main) if view.get("when") else None,
            results.folds if member.kind == TUNED and fold_of(fold) is not None else None,
        ),
        adapter=adapter if member.kind == TUNED else None,
        out=out,
        cost=out.with_suffix(".json"),
        places=ScoringPlaces(work, results.bases, results.vision, config["hardware"]["vision_gb"]),
        store=Store(Path(config["hardware"]["store"]), config["hardware"]["store_gb"]),
        batch_tokens=config["hardware"]["score_batch_tokens"],
        devices=member.devices,
    )
