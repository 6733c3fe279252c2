"""Train one LoRA adapter of a member, on the rows of all folds but one, or on all rows."""

import argparse
from pathlib import Path

from vqaflow.artifacts.parts import fold_of, seed_of
from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.commands.rules.score_choices import part
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, member_named, members_of, require_kind
from vqaflow.config.sections import AnswersConfig, entries, section
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    parser.add_argument("--fold", type=part, required=True, help="fold whose rows are left out (0, 0-seed7), or all")
    parser.add_argument("--best", type=Path, help="best.yaml of a hyper-parameter search")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results, fold = checked_config(*arguments.config), arguments.results, arguments.fold
    member = member_named(members_of(config), arguments.member)
    require_kind(member, (TUNED,), "train")
    if fold not in (possible := member.trained_parts(config["folds"]["n"])):
        raise UserError(f"--fold {fold}: {member.name} has no such adapter. Name one of {', '.join(possible)}.")
    lease_gpus(member.train["devices"])
    from vqaflow.training.rows import FoldRows
    from vqaflow.training.settings import TrainingPlaces, TrainingSettings
    from vqaflow.training.train_adapter import train_adapter  # imports torch, which must see the leased GPUs only

    alike = [other for other in possible if fold_of(other) is not None and seed_of(other) == seed_of(fold)]
    histories = [results.adapter(member.name, other) / "log.csv" for other in alike] if fold_of(fold) is None else []
    train, view = member.train_for(seed_of(fold)), member.rendering(member.main_view)
    answers = section(AnswersConfig, entries(AnswersConfig, config["data"]))
    work, tracking = results.training_work(member.name, fold), results.tracking(member.name, fold)
    train_adapter(
        rows=FoldRows(results.table("train"), results.folds, fold_of(fold), answers, results.teacher(train["teacher"])),
        settings=TrainingSettings.of(member.model, member.prompt, train, arguments.best, histories, view),
        out=results.adapter(member.name, fold),
        places=TrainingPlaces(work, results.bases, results.vision, tracking),
        store=Store(Path(config["hardware"]["store"]), config["hardware"]["store_gb"]),
    )
