"""Measure what a choice of the workflow is worth, on the demo with several seeds.

simulate epochs: which epoch of an adapter to keep (train.keep). It trains each fold of the demo once per base and seed,
and judges each rule by the demo's test rows, which chose nothing. Needs the demo's tables and folds (snakemake
results/folds.parquet); 30 trainings take minutes on a GPU and hours on a CPU.

Shapes: E epochs.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_results
from vqaflow.config.loading import checked_config
from vqaflow.runtime.gpu_lease import lease_gpu

BASES = ["assets/tiny-qwen2_5-vl", "assets/tiny-qwen3-vl"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", required=True)
    epochs = actions.add_parser("epochs", help="which epoch of an adapter to keep")
    add_config(epochs)
    add_results(epochs)
    epochs.add_argument("--bases", nargs="+", default=BASES, help="the bases (default: the two tiny ones)")
    epochs.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46], help="seeds of the trainings")
    epochs.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config = checked_config(*arguments.config)
    lease_gpu()
    from vqaflow.demo.epochs import judge, judged_lines, train_curves
    from vqaflow.runtime.files import write_json
    from vqaflow.runtime.versions import package_versions

    folds = range(config["folds"]["n"])
    todo = [(base, fold, seed) for seed in arguments.seeds for base in arguments.bases for fold in folds]
    runs = [train_curves(config, arguments.results, *one) for one in todo]
    judged = judge(runs)
    print(*judged_lines(judged), sep="\n")
    if arguments.json is not None:
        about = {"seeds": arguments.seeds, "folds": len(folds), "versions": package_versions()}
        curves = [
            {"base": one.base, "fold": one.fold, "seed": one.seed, "accuracy": one.accuracy_E.tolist()} for one in runs
        ]
        write_json(arguments.json, about | {"judged": judged, "held_out_accuracy": curves})
