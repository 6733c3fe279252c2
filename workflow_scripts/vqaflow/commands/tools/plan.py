"""Estimate the memory and hours of each member's training, without weights, GPU or network.

vqaflow plan --config my.yaml --vram 14.7 needs only the base's config.json or a published shape.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from vqaflow.artifacts.results_folder import RESULTS
from vqaflow.commands.options import add_config
from vqaflow.config.loading import checked_config
from vqaflow.plan.published import PUBLISHED

# A T4's memory as torch sees it, and the float16 rate that it sustains.
T4_GIB, T4_TFLOPS = 14.7, 24.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    number, whole = positive(float), positive(int)
    parser.add_argument("--vram", type=number, default=T4_GIB, help="the GPU's GiB (default: a T4's %(default)s)")
    sustained = "TFLOP/s that its matrix products sustain (default: a T4's %(default)s)"
    parser.add_argument("--tflops", type=number, default=T4_TFLOPS, help=sustained)
    shape = "a published model's sizes, if the base is not on this machine"
    parser.add_argument("--shape", choices=PUBLISHED, help=shape)
    table = RESULTS.table("train")
    own = f"default: {table} if it was made from data.train_csv, else that file and a sample of its images"
    parser.add_argument("--table", type=Path, help=f"a checked table to take rows and image sizes from ({own})")
    parser.add_argument("--rows", type=whole, help="training rows per fold (default: the table's share)")
    matrix = "print a table instead: the rows in one pass of each published model that fit on each of some cards"
    parser.add_argument("--matrix", action="store_true", help=matrix)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.config.sections import TrainConfig, section
    from vqaflow.plan.member_plans import print_plans
    from vqaflow.plan.plan_text import matrix_lines

    config = checked_config(*arguments.config)
    if arguments.matrix:
        print(*matrix_lines(section(TrainConfig, config["train"])), sep="\n")
    else:
        print_plans(config, arguments)


def positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    """An option's type: a number above 0."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    number.__name__ = "whole number" if kind is int else "number"  # the name that argparse shows
    return number
