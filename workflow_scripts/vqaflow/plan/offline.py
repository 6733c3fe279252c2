"""Does a training fit, and how long will it take? Answered without weights, GPU or network.

Needs only the base's config.json or a published shape. The plan with a loaded base is in training_plan.py.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vqaflow.artifacts.parts import ORIGINAL
from vqaflow.config.sections import ModelConfig, TrainConfig, ViewConfig, section
from vqaflow.data.images.visual_tokens import HUB_NAME, base_file
from vqaflow.model.checkpoint import (
    FITTING_SHARE,
    already_quantized,
    quantization_in_config,
    quantization_in_name,
)
from vqaflow.model.families.known import family_of
from vqaflow.model.hub import unpinned
from vqaflow.model.hub_names import EXAMPLE
from vqaflow.plan.footprint import GIB
from vqaflow.plan.image_tokens import AS_THEY_ARE, image_tokens, largest_image
from vqaflow.plan.plan_text import plan_lines
from vqaflow.plan.published import PUBLISHED, published_in
from vqaflow.plan.rows import PlanRows
from vqaflow.plan.shape import Shape, published
from vqaflow.plan.training_plan import USUAL_CHOICES, Plan, Tokens, plan_of, usual_tokens
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import parse_json
from vqaflow.runtime.stage import log

SIZE = re.compile(r"(?<![0-9a-z.])[0-9.]+b(?![0-9a-z])")  # a model's size within its name: 7b, not 4bit


def guessed_tokens(
    sizes: Sequence[tuple[int, int]],
    model: ModelConfig,
    orders: int,
    shape: Shape,
    choices: int = USUAL_CHOICES,
    view: ViewConfig = AS_THEY_ARE,
) -> Tokens:
    """Estimated tokens from images' (width, height) and a usual text length; without sizes, of the largest images.

    A view that reads is taken to read as much as it may.
    """
    visual = image_tokens(sizes, model, shape, view) or [largest_image(model, shape, view)]
    return usual_tokens(visual, orders, shape, choices, view.read_tokens if view.read else 0)


def trained_view(config: Mapping[str, Any]) -> ViewConfig:
    """The view that training renders."""
    return section(ViewConfig, config["views"][config["train"].get("view", ORIGINAL)])


def shape_of(model: ModelConfig, named: str | None) -> tuple[Shape, str]:
    """The shape of a base and its source: the published one `named`, its config.json, or the model in its name."""
    if named:
        return published(named), f"the published {named} (--shape)"
    file = base_file(model.base, model.revision, "config.json")
    if file is not None:
        return read_shape(file), str(file)
    if how := quantization_in_name(model.base):
        raise UserError(f"model.base: {already_quantized(model.base, how)}")
    found = published_in(model.base)
    if found:
        return published(found), f"the published {found} (going by its name)"
    if HUB_NAME.fullmatch(model.base) and not Path(model.base).exists():
        cure = f"Download that one file: hf download {model.base} config.json"
    else:
        cure = "Give a folder that contains it"
    named_after = f"; or, if it was tuned from one of these, add --shape with its name: {', '.join(PUBLISHED)}"
    also = (
        "" if SIZE.search(model.base.lower()) else named_after
    )  # a size in the name belongs to a model not known here
    what = "its config.json is not on this machine, and its name is not that of a model whose sizes are known here"
    raise UserError(f"model.base: {model.base!r}: {what}. {cure}{also}.")


def read_shape(file: Path) -> Shape:
    """The shape in a config.json. Raises UserError if it is not that of an unquantised vision-language model."""
    try:
        config = parse_json(file.read_text(encoding="utf-8"))
        kind = config["model_type"]
        if how := quantization_in_config(config):
            raise UserError(already_quantized(str(file), how))
        require_image_text(kind, file)
        if not {"vision_config", "vision_tower"} & config.keys() and "text_config" in config:
            raise KeyError("vision_config")
        return Shape.of(config)
    except UserError:
        raise
    except Exception as error:  # the library checks configurations with errors of many kinds
        what = f"lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        cure = "Download the base again"
        raise UserError(f"{file}: it is not the config.json of a vision-language model ({what}). {cure}.") from None


def require_image_text(kind: str, file: Path) -> None:
    """Raise UserError unless the library loads checkpoints with this model_type with images."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        what = f"it is of a {kind} model, which takes no images, or which the installed transformers does not know"
        raise UserError(f"{file}: {what}. Set model.base to a vision-language model such as {EXAMPLE}.")


def print_plan(config: Mapping[str, Any], settings: argparse.Namespace, basis: PlanRows) -> str | None:
    """Print the plan of one fold for the command's options. Returns what to change if it does not fit."""
    shape, source = shape_of(section(ModelConfig, config["model"]), settings.shape)
    require_dtype(config["model"]["compute_dtype"], shape, config["model"]["quantization"])
    if told := unpinned(section(ModelConfig, config["model"])):
        log.warning("%s", told)
    base = f"base: {config['model']['base']}, sizes from {source}"
    print(*basis_lines(config, basis, settings.rows, shape), base, sep="\n")
    plan = offline_plan(config, settings, basis, shape)
    print(*plan_lines(plan), sep="\n")
    if plan.fits:
        return None
    return f"train.batch_size: a pass does not fit into the GPU's memory. {cure(config, settings, basis, shape)}"


def require_dtype(compute_dtype: str, shape: Shape, quantization: str) -> None:
    """Warn if it needs bfloat16 or FP8, which not all GPUs have. Raises UserError for a float16 that does not work."""
    family = family_of(shape.kind)
    if compute_dtype == "float16" and family.float16:
        why = f"{family.name} does not work in float16: {family.float16}"
        raise UserError(f"model.compute_dtype: {why}. Use bfloat16.")
    if quantization == "fp8":
        log.warning(
            "model.quantization: fp8 is refused on GPUs of compute capability below 8.9, such as a T4 or an A100"
        )
    elif compute_dtype == "bfloat16" or (compute_dtype == "auto" and family.float16):
        log.warning("model.compute_dtype: bfloat16 is refused on GPUs of compute capability below 8.0, such as a T4")


def basis_lines(config: Mapping[str, Any], basis: PlanRows, rows: int | None, shape: Shape) -> list[str]:
    """What the plan is based on, as lines of text."""
    counted = f"{fold_rows(config, basis)} train each fold, of {basis.rows} in {basis.source}"
    tokens = largest_image(section(ModelConfig, config["model"]), shape, trained_view(config))
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
    """The plan of a configuration on the GPU of `settings`, which need not be present; `batch` replaces its own."""
    model, train = section(ModelConfig, config["model"]), section(TrainConfig, config["train"])
    if batch:
        train = section(TrainConfig, config["train"] | {"batch_size": batch})
    return plan_of(
        shape,
        train,
        guessed_tokens(
            basis.sizes,
            model,
            train.choice_orders,
            shape,
            len(config["data"]["columns"]["choices"]),
            trained_view(config),
        ),
        settings.rows or fold_rows(config, basis),
        torch.float32 if model.compute_dtype == "float32" else torch.float16,
        is_quantized(model, shape, settings.vram),
        settings.vram,
        settings.tflops * 1e12,
        model.quantization == "fp8",
    )


def is_quantized(model: ModelConfig, shape: Shape, vram_gib: float) -> bool:
    """Whether the base is loaded in NF4; `auto` means where 16 bits leave too little of the GPU's memory."""
    if model.quantization != "auto":
        return model.quantization == "nf4"
    return 2 * shape.weights / GIB > FITTING_SHARE * vram_gib


def cure(config: Mapping[str, Any], settings: argparse.Namespace, basis: PlanRows, shape: Shape) -> str:
    """What to change so that it fits."""
    batch = config["train"]["batch_size"]
    while batch > 1:
        batch //= 2
        if offline_plan(config, settings, basis, shape, batch).fits:
            return f"Set it to {batch}, and raise train.accumulation so that their product stays the same."
    small = {**config, "model": config["model"] | {"quantization": "nf4"}}
    if not is_quantized(section(ModelConfig, config["model"]), shape, settings.vram):
        if offline_plan(small, settings, basis, shape, 1).fits:
            return "Set model.quantization to nf4, or use a smaller base."
    return "Lower model.max_pixels, use a smaller base, or set train.cache_vision to disk."
