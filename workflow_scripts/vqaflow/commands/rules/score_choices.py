"""Score the choices of one fold's rows, or of the test rows, in one view."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.messages import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    parser.add_argument("--split", choices=["oof", "test"], required=True, help="rows to score")
    parser.add_argument("--fold", type=int, required=True, help="fold of the adapter")
    parser.add_argument("--view", default="original", help="a key of views in the configuration (default: %(default)s)")
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results = checked_config(*arguments.config), arguments.results
    split, fold, name = arguments.split, arguments.fold, arguments.view
    if name not in config["views"]:
        raise UserError(f"--view {name}: the configuration has no such view; {did_you_mean(name, config['views'])}")
    view = config["views"][name]
    lease_gpu()
    from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
    from vqaflow.scoring.selection import RowsToScore, Task

    score_choices(
        task=Task.of(name, config["model"], config["prompt"], view, config["orders"]),
        rows=RowsToScore(
            results.table_of(split),
            results.folds if split == "oof" else None,
            fold,
            results.scores(split, fold, "original") if view.get("when") else None,
        ),
        adapter=results.adapter(fold),
        out=results.scores(split, fold, name),
        places=ScoringPlaces(
            results.scoring_work(split, fold, name), results.bases, results.vision, config["hardware"]["vision_gb"]
        ),
        store=Store(Path(config["hardware"]["store"]), config["hardware"]["store_gb"]),
        batch_tokens=config["hardware"]["score_batch_tokens"],
    )
