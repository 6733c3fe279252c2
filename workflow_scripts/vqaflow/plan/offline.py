"""Does a training fit, and how long will it take? Answered without weights, GPU or network.

Needs only the base's config.json or a published shape. The plan with a loaded base is in training_plan.py.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vqaflow.config.sections import ModelConfig, TrainConfig, section
from vqaflow.data.images.visual_tokens import PATCH, visual_tokens
from vqaflow.plan.plan_text import plan_lines
from vqaflow.plan.rows import PlanRows, plan_rows
from vqaflow.plan.shape import SHAPES, Shape
from vqaflow.plan.training_plan import Plan, Tokens, plan_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

# A Korean question with four choices: the text up to the choices, and the choices with the text after them.
TEXT_TOKENS, CHOICE_TOKENS = 100, 64
SIZE = re.compile(r"(?<![0-9a-z.])[0-9.]+b(?![0-9a-z])")  # a model's size within its name: 7b, not 4bit
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def guessed_tokens(sizes: Sequence[tuple[int, int]], model: ModelConfig, orders: int) -> Tokens:
    """Estimated tokens from images' (width, height) and a usual text length; without sizes, of the largest images."""
    visual = visual_tokens(*zip(*sizes, strict=True), model.min_pixels, model.max_pixels) if sizes else []
    visual = visual or [largest_image(model)]
    text = TEXT_TOKENS + orders * CHOICE_TOKENS
    return Tokens(sum(visual) / len(visual) + text, max(visual) + text, sum(visual) / len(visual))


def largest_image(model: ModelConfig) -> int:
    """Visual tokens of the largest image that the model is shown."""
    return model.max_pixels // PATCH**2


def shape_of(model: ModelConfig, named: str | None) -> tuple[Shape, str]:
    """The shape of a base and its source: the published one `named`, its config.json, or the size in its name."""
    if named:
        return SHAPES[named], f"the published {named} (--shape)"
    file = config_file(model)
    if file is not None:
        return read_shape(file), str(file)
    found = set(SIZE.findall(model.base.lower()))
    known = found & {"3b", "7b"}
    if len(found) == len(known) == 1:
        size = known.pop()
        return SHAPES[size], f"the published Qwen2.5-VL {size} (going by its name)"
    if HUB_NAME.fullmatch(model.base) and not Path(model.base).exists():
        cure = f"Download that one file: hf download {model.base} config.json"
    else:
        cure = "Give a folder that contains it"
    also = "" if found else "; or, if it was tuned from a 3B or 7B, add --shape 3b or --shape 7b"
    what = "its config.json is not on this machine, and its name does not contain a known size (3b, 7b)"
    raise UserError(f"model.base: {model.base!r}: {what}. {cure}{also}.")


def config_file(model: ModelConfig) -> Path | None:
    """The base's config.json, in its folder or among what has been downloaded from the hub."""
    from huggingface_hub import try_to_load_from_cache

    file: Any = Path(model.base) / "config.json"
    if not file.is_file() and HUB_NAME.fullmatch(model.base):
        file = try_to_load_from_cache(model.base, "config.json", revision=model.revision)
    return Path(file) if isinstance(file, str | Path) and Path(file).is_file() else None


def read_shape(file: Path) -> Shape:
    """The shape in a config.json. Raises UserError if it is not that of a Qwen2.5-VL."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if config["model_type"] != "qwen2_5_vl":
            raise UserError(f"{file}: it is of a {config['model_type']} model. Set model.base to a Qwen2.5-VL.")
        return Shape.of(config)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{file}: it is not the config.json of a Qwen2.5-VL ({what}). Download the base again."
        ) from None


def print_plan(config: Mapping[str, Any], settings: argparse.Namespace) -> None:
    """Print the plan of one fold for the command's options. Raises UserError if it does not fit."""
    basis = plan_rows(config, settings.table, settings.rows is not None)
    shape, source = shape_of(section(ModelConfig, config["model"]), settings.shape)
    print(*basis_lines(config, basis, settings.rows), f"base: {config['model']['base']}, sizes from {source}", sep="\n")
    if config["model"]["compute_dtype"] == "bfloat16":
        log.warning("model.compute_dtype: bfloat16 is refused on GPUs of compute capability below 8.0, such as a T4")
    plan = offline_plan(config, settings, basis, shape)
    print(*plan_lines(plan), sep="\n")
    if not plan.fits:
        raise UserError(
            f"train.batch_size: a pass does not fit into the GPU's memory. {cure(config, settings, basis, shape)}"
        )


def basis_lines(config: Mapping[str, Any], basis: PlanRows, rows: int | None) -> list[str]:
    """What the plan is based on, as lines of text."""
    counted = f"{fold_rows(config, basis)} train each fold, of {basis.rows} in {basis.source}"
    tokens = largest_image(section(ModelConfig, config["model"]))
    assumed = f"assumed to have model.max_pixels, {tokens} visual tokens ({basis.sizes_source})"
    return [
        f"rows: {f'{rows} train each fold (--rows)' if rows else counted}",
        f"images: {basis.sizes_source if basis.sizes else assumed}",
    ]


def fold_rows(config: Mapping[str, Any], basis: PlanRows) -> int:
    """How many rows train one fold."""
    return round(basis.rows * (1 - 1 / config["folds"]["n"]))


def offline_plan(
    config: Mapping[str, Any], settings: argparse.Namespace, basis: PlanRows, shape: Shape, batch: int | None = None
) -> Plan:
    """The plan of a configuration on a GPU that need not be present; `batch` replaces its batch size."""
    model, train = section(ModelConfig, config["model"]), section(TrainConfig, config["train"])
    if batch:
        train = section(TrainConfig, config["train"] | {"batch_size": batch})
    return plan_of(
        shape,
        train,
        guessed_tokens(basis.sizes, model, train.choice_orders),
        settings.rows or fold_rows(config, basis),
        torch.float32 if model.compute_dtype == "float32" else torch.float16,
        model.quantization != "none",
        settings.vram,
        settings.tflops * 1e12,
    )


def cure(config: Mapping[str, Any], settings: argparse.Namespace, basis: PlanRows, shape: Shape) -> str:
    """What to change so that it fits."""
    batch = config["train"]["batch_size"]
    while batch > 1:
        batch //= 2
        if offline_plan(config, settings, basis, shape, batch).fits:
            return f"Set it to {batch}, and raise train.accumulation so that their product stays the same."
    return "Lower model.max_pixels, use a smaller base, or set train.cache_vision to disk."
