"""Estimate the memory and the hours of the whole run, without weights, GPU or network.

vqaflow plan --config my.yaml --card a100-80 needs only the base's config.json or a published shape.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqaflow.artifacts.results_folder import RESULTS, ResultsFolder
from vqaflow.commands.options import add_config, positive
from vqaflow.config.loading import checked_config
from vqaflow.plan.cards import BY_NAME, Card, card_here, card_named, card_of
from vqaflow.plan.published import PUBLISHED
from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    number, whole = positive(float), positive(int)
    cards = f"one of {', '.join(BY_NAME)} (default: the GPU of this machine, else t4)"
    parser.add_argument("--card", type=card, help=cards)
    memory = "the GPU's memory in GiB, instead of --card's; without --card, of the known card that is nearest"
    parser.add_argument("--vram", type=number, help=memory)
    sustained = "TFLOP/s that its matrix products in 16 bits sustain, instead of the card's"
    parser.add_argument("--tflops", type=number, help=sustained)
    session = "hours of a session, such as Kaggle's 12: says whether the run fits (default: hardware.session_hours)"
    parser.add_argument("--session", type=number, help=session)
    shape = "a published model's sizes, if the base is not on this machine"
    parser.add_argument("--shape", choices=PUBLISHED, help=shape)
    parser.set_defaults(results=RESULTS)
    table = RESULTS.table("train")
    own = f"default: {table} if it was made from data.train_csv, else that file and a sample of its images"
    parser.add_argument("--table", type=Path, help=f"a checked table to take rows and image sizes from ({own})")
    parser.add_argument("--rows", type=whole, help="training rows per fold (default: the table's share)")
    matrix = "print a table instead: the rows in one pass of each published model that fit on each of some cards"
    parser.add_argument("--matrix", action="store_true", help=matrix)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.config.sections import TrainConfig, section
    from vqaflow.plan.plan_text import matrix_lines

    config = checked_config(*arguments.config)
    if arguments.matrix:
        print(*matrix_lines(section(TrainConfig, config["train"])), sep="\n")
    else:
        print_for(config, arguments)


def print_for(config: Mapping[str, Any], arguments: argparse.Namespace) -> None:
    """Print the plan of a checked configuration for the command's options."""
    from vqaflow.plan.member_plans import print_plans

    arguments.session = arguments.session or config["hardware"]["session_hours"]
    print_plans(config, on_card(arguments))


def print_whole_plan(config: Mapping[str, Any], results: ResultsFolder) -> None:
    """Print the plan of a checked configuration, whose results are in `results`, for this machine's GPU, or a T4."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    print_for(config, parser.parse_args([], argparse.Namespace(results=results)))


def card(text: str) -> Card:
    """An option's type: a card's name."""
    try:
        return card_named(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def on_card(arguments: argparse.Namespace) -> argparse.Namespace:
    """The options with the memory and the speed of the card, and a title of it, filled in."""
    like = arguments.card or (card_of(arguments.vram) if arguments.vram else card_here() or card_named("t4"))
    how = "given" if arguments.tflops else "measured" if like.measured else "assumed; --tflops sets another"
    vram, tflops = arguments.vram or like.gib, arguments.tflops or like.tflops
    title = like.title if abs(vram - like.gib) < 0.05 * like.gib else f"a card of {vram:g} GiB"
    told = f"card: {title}, {vram:.1f} GiB, products of {tflops:g} TFLOP/s ({how})"
    return argparse.Namespace(**{**vars(arguments), "vram": vram, "tflops": tflops, "like": like, "told": told})
