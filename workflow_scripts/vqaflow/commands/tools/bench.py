"""Measure speed and memory on this machine, as a table and as JSON.

bench train: a training step, by the usual recipe, TRL's trainer, Transformers + PEFT, Liger, Unsloth and this package.
bench score: scoring a row, by generation, single passes and choice orders that share their prefix. Both build a random
model of a published shape and need no download; --shape tiny runs on a CPU. bench pool: choosing and pooling many
members. bench growth: all stages beside the model, at several sizes of the tables.
"""

import argparse
from pathlib import Path

from vqaflow.commands.options import positive
from vqaflow.runtime.gpu_lease import lease_gpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    from vqaflow.plan.published import IN_BENCHMARKS

    actions = parser.add_subparsers(dest="action", required=True)
    train = actions.add_parser("train", help="a training step: the usual recipe, TRL's trainer and this package")
    score = actions.add_parser("score", help="scoring a row: generation, single passes, orders that share a prefix")
    pool = actions.add_parser("pool", help="choosing how to pool many members, and pooling them")
    for action in (train, score):
        shapes = "a published shape, or tiny (the demo's) for a CPU"
        precision = (
            "of the decoder on a GPU (default: nf4 for 7b, 3b and tiny, in float16; none for others, in bfloat16)"
        )
        known = ["nf4", "fp8", "none"] if action is score else ["nf4", "none"]
        action.add_argument("--quantization", choices=known, help=precision)
        visual = "visual tokens per row (default: 768, tiny 16)"
        action.add_argument("--visual", type=int, metavar="N", help=visual)
        action.add_argument("--shape", choices=IN_BENCHMARKS, default="7b", help=shapes)
    train.add_argument("--batch", type=int, default=4, help="rows per pass (default: %(default)s)")
    recipes = ["usual", "trl", "peft", "liger", "unsloth", "ours", "checks"]
    only = "measure only these (default: all; usual and trl only for 7b, 3b and tiny)"
    train.add_argument("--only", nargs="+", choices=recipes, help=only)
    site = "packages for the rows of Unsloth and Liger, as pip install --target FOLDER makes them (default: installed)"
    train.add_argument("--site", type=Path, metavar="FOLDER", help=site)
    devices = "instead: steps of ours on one GPU, and shared by so many (train.devices; a CPU has as many as you like)"
    train.add_argument("--devices", type=int, default=1, metavar="N", help=devices)
    score.add_argument("--rows", type=int, default=64, help="rows scored by each adapter (default: %(default)s)")
    tokens = "tokens per pass, as hardware.score_batch_tokens (default: 18432 on a GPU, 4096 on a CPU)"
    score.add_argument("--batch-tokens", type=int, help=tokens)
    loading = "also write a checkpoint of this shape to a folder and time loading it"
    score.add_argument("--load", type=Path, metavar="FOLDER", help=loading)
    pool.add_argument("--members", type=int, default=20, help="members (default: %(default)s)")
    rows = "training rows, and as many test rows (default: %(default)s)"
    pool.add_argument("--rows", type=int, default=100_000, help=rows)
    growth = actions.add_parser("growth", help="each stage beside the model, as tables grow")
    sizes = "training rows of each table (default: 1000 10000 100000)"
    growth.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000], help=sizes)
    growth.add_argument("--upto", metavar="STAGE", help="end after this stage (default: verify)")
    repeats = "measure so many times, and keep the median with its spread (default: %(default)s)"
    for action in (train, score, pool):
        action.add_argument("--runs", type=positive(int), default=1, metavar="N", help=repeats)
    for action in (train, score, pool, growth):
        action.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    if arguments.action in ("train", "score"):
        lease_gpus(arguments.devices if arguments.action == "train" else 1)
    if arguments.action == "train" and arguments.devices > 1:
        from vqaflow.bench.devices import bench_devices

        given = (arguments.json, arguments.quantization, arguments.visual, arguments.runs)
        bench_devices(arguments.shape, arguments.batch, arguments.devices, *given)
    elif arguments.action == "train":
        from vqaflow.bench.train import bench_train

        given = (arguments.json, arguments.quantization, arguments.visual)
        bench_train(arguments.shape, arguments.batch, arguments.only, *given, arguments.site, arguments.runs)
    elif arguments.action == "score":
        from vqaflow.bench.score import bench_score

        given = (arguments.json, arguments.quantization, arguments.visual, arguments.runs)
        bench_score(arguments.shape, arguments.rows, arguments.batch_tokens, arguments.load, *given)
    elif arguments.action == "growth":
        from vqaflow.bench.growth import bench_growth

        bench_growth(arguments.rows, arguments.json, arguments.upto)
    else:
        from vqaflow.bench.pool import bench_pool

        bench_pool(members=arguments.members, rows=arguments.rows, out=arguments.json, runs=arguments.runs)
