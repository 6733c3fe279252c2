"""Does a training fit, and how long will it take? Told without weights, GPU or network.

`python -m vqaflow.plan --config my.yaml --vram 14.7` needs only the numbers in the base's config.json, or of a
published shape. What a real training plans with the loaded base is in training_plan.py.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from qwen_vl_utils import smart_resize

from vqaflow.config import ModelConfig, PromptConfig, TrainConfig, checked_config, section
from vqaflow.errors import UserError
from vqaflow.progress import log, stage
from vqaflow.shapes import SHAPES, Shape
from vqaflow.training_plan import Plan, Tokens, plan_of

FACTOR = 28  # pixels of a visual token's side
# A T4's memory as torch sees it, and the float16 rate that it sustains.
T4_GIB, T4_TFLOPS = 14.7, 24.0
# A Korean question with four choices: text up to the choices, and choices with what follows them.
TEXT_TOKENS, CHOICE_TOKENS = 100, 64


def guessed_tokens(sizes: Sequence[tuple[int, int]], model: ModelConfig, orders: int) -> Tokens:
    """The same from images' (width, height) and a usual length of text; without sizes, of the largest images."""
    limits = {"min_pixels": model.min_pixels, "max_pixels": model.max_pixels}
    visual = [math.prod(smart_resize(height, width, FACTOR, **limits)) // FACTOR**2 for width, height in sizes]
    visual = visual or [model.max_pixels // FACTOR**2]
    text = TEXT_TOKENS + orders * CHOICE_TOKENS
    return Tokens(sum(visual) / len(visual) + text, max(visual) + text, sum(visual) / len(visual))


def shape_of(base: str, named: str | None) -> Shape:
    """The shape of a base: the published one `named`, that of its folder's config.json, or by its hub name's size."""
    if named:
        return SHAPES[named]
    file = Path(base) / "config.json"
    if file.is_file():
        return Shape.of(json.loads(file.read_text(encoding="utf-8")))
    found = [name for name in ("3b", "7b") if name in base.lower()]
    if len(found) != 1:
        raise UserError(f"model.base: {base!r} is no folder and its name tells no known size. Add --shape 3b or 7b.")
    return SHAPES[found[0]]


def images_of(table: Path) -> list[tuple[int, int]]:
    """(width, height) of a checked table's images, if it is there."""
    if not table.is_file():
        return []
    return list(pd.read_parquet(table, columns=["width", "height"]).itertuples(index=False, name=None))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan of one fold; exit status 1 if it does not fit."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.plan", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--vram", type=float, default=T4_GIB, help="the GPU's GiB (default: a T4's %(default)s)")
    parser.add_argument("--tflops", type=float, default=T4_TFLOPS, help="what its matrix products sustain")
    parser.add_argument("--shape", choices=SHAPES, help="a published shape, if the base is not on this machine")
    parser.add_argument("--table", type=Path, default=Path("results/tables/train.parquet"), help="for images' sizes")
    parser.add_argument("--rows", type=int, help="training rows of a fold (default: the table's, else 1000)")
    settings = parser.parse_args(arguments)
    with stage(None):
        config = checked_config(*settings.config)
        plan = offline_plan(config, settings)
        print(*plan.lines(), sep="\n")
        if not plan.fits:
            raise UserError(f"train.batch_size: too little memory. {cure(config, settings)}")


def offline_plan(config: Mapping[str, Any], settings: argparse.Namespace, batch: int | None = None) -> Plan:
    """The plan of a configuration on a GPU that need not be here, maybe with another batch size."""
    model, train = section(ModelConfig, config["model"]), section(TrainConfig, config["train"])
    section(PromptConfig, config["prompt"])
    if batch:
        train = section(TrainConfig, config["train"] | {"batch_size": batch})
    sizes = images_of(settings.table)
    rows = settings.rows or round(len(sizes) * (1 - 1 / config["folds"]["n"])) or 1000
    if model.compute_dtype == "bfloat16":
        log.warning("model.compute_dtype: bfloat16 is refused on a GPU of compute capability below 8.0, such as a T4")
    dtype = torch.float32 if model.compute_dtype == "float32" else torch.float16
    return plan_of(
        shape_of(model.base, settings.shape),
        train,
        guessed_tokens(sizes, model, train.choice_orders),
        rows,
        dtype,
        model.quantization != "none",
        settings.vram,
        settings.tflops * 1e12,
    )


def cure(config: Mapping[str, Any], settings: argparse.Namespace) -> str:
    """What to change so that it fits."""
    batch = config["train"]["batch_size"]
    while batch > 1:
        batch //= 2
        if offline_plan(config, settings, batch).fits:
            return f"Set it to {batch}, and train.accumulation to so much more that their product stays."
    return "Lower model.max_pixels, use a smaller base, or set train.cache_vision to disk."


if __name__ == "__main__":
    main()
