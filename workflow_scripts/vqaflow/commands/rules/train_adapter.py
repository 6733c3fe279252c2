"""Train the LoRA adapter of one fold on the rows of all other folds."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.artifact_store import Store
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
    from vqaflow.training.rows import FoldRows
    from vqaflow.training.settings import TrainingPlaces, TrainingSettings
    from vqaflow.training.train_adapter import train_adapter  # imports torch, which must see the leased GPU only

    train_adapter(
        rows=FoldRows(results.table("train"), results.folds, fold),
        settings=TrainingSettings.of(config["model"], config["prompt"], config["train"], arguments.best),
        out=results.adapter(fold),
        places=TrainingPlaces(results.training_work(fold), results.bases, results.vision, results.tracking(fold)),
        store=Store(Path(config["hardware"]["store"]), config["hardware"]["store_gb"]),
    )
