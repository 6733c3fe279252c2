"""Train the LoRA adapter of one fold on the rows of all other folds."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument("--fold", type=int, required=True, help="fold whose rows are left out")
    parser.add_argument("--best", type=Path, help="best.yaml of a hyper-parameter search")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results, fold = checked_config(*arguments.config), arguments.results, arguments.fold
    lease_gpu()
    from vqaflow.training.train_adapter import train_adapter  # imports torch, which must see the leased GPU only

    train_adapter(
        table=results.table("train"),
        folds=results.folds,
        fold=fold,
        model=config["model"],
        prompt=config["prompt"],
        train=config["train"],
        best=arguments.best,
        out=results.adapter(fold),
        work=results.training_work(fold),
        store={"path": config["hardware"]["store"], "gb": config["hardware"]["store_gb"]},
        bases=results.bases,
        tracking=results.tracking(fold),
    )
