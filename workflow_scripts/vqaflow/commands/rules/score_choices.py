"""Score the choices of one fold's rows, or of the test rows, in one view."""

import argparse

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
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
    from vqaflow.scoring.score_choices import score_choices  # imports torch, which must see the leased GPU only

    score_choices(
        table=results.table_of(split),
        folds=results.folds if split == "oof" else None,
        fold=fold,
        view=name,
        views=view,
        adapter=results.adapter(fold),
        model=config["model"],
        prompt=config["prompt"],
        orders=config["orders"],
        margins_from=results.scores(split, fold, "original") if view.get("when") else None,
        out=results.scores(split, fold, name),
        work=results.scoring_work(split, fold, name),
        store={"path": config["hardware"]["store"], "gb": config["hardware"]["store_gb"]},
        features={"path": results.vision, "gb": config["hardware"]["vision_gb"]},
        bases=results.bases,
        batch_tokens=config["hardware"]["score_batch_tokens"],
    )
