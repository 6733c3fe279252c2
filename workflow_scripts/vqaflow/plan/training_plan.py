"""What a training will take, predicted before its first step: tokens, memory, steps and time."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import TrainConfig, ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.orders import first_orders
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.families.known import family_of
from vqaflow.plan.footprint import GIB, Footprint, usable_gib
from vqaflow.plan.image_tokens import AS_THEY_ARE
from vqaflow.plan.shape import Shape
from vqaflow.plan.timing import matmul_ceiling

# A training step's speed as a share of a large matrix product's; measured (docs/benchmarks/train.md).
EFFICIENCY = 0.5
# A Korean question with four choices: the text up to the choices, and the choices with the text after them.
TEXT_TOKENS, CHOICES_TOKENS, USUAL_CHOICES = 100, 64, 4
KEPT_SHARE = 0.95  # products are kept up to this share of the usable memory: the prediction may be slightly off


@dataclass(frozen=True)
class Tokens:
    """Tokens per row in one pass, with all its choice orders: mean and largest, and the mean of the visual tokens.

    Where each order is a pass of its own, `mean` and `largest` are those of a row's passes together, and `visual` those
    of one.
    """

    mean: float
    largest: int
    visual: float


def tokens_of(encoder: RowEncoder, rows: Sequence[Row], orders: int, view: ViewConfig) -> Tokens:
    """The tokens of real rows in `view`, from their texts and image sizes."""
    shown = first_orders(ALL_LETTERS[: len(rows[0].choices)], orders)
    encoded = [encoder.encode(row, shown, view) for row in rows]
    counts = [one.tokens for one in encoded]
    visual = [sum(map(math.prod, one.grids)) / encoder.merge**2 for one in encoded]
    return Tokens(sum(counts) / len(counts), max(counts), sum(visual) / len(visual))


def usual_tokens(
    visual: Sequence[int], orders: int, shape: Shape, choices: int = USUAL_CHOICES, read: int = 0
) -> Tokens:
    """The tokens of rows whose images have so many `visual` tokens each, and whose texts have a usual length.

    `read` tokens of a transcript are part of the text.
    """
    shown = math.ceil(CHOICES_TOKENS * choices / USUAL_CHOICES)
    mean, largest = sum(visual) / len(visual), max(visual)
    if family_of(shape.kind).prefix == "separate":
        text = TEXT_TOKENS + read + shown
        return Tokens(orders * (mean + text), orders * (largest + text), mean)
    text = TEXT_TOKENS + read + orders * shown
    return Tokens(mean + text, largest + text, mean)


@dataclass(frozen=True)
class Plan:
    """Memory and time of a training."""

    footprint: Footprint
    tokens: Tokens
    rows: int
    steps: int
    vram_gib: float | None
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether the predicted peak fits into the usable memory; always true on a CPU."""
        return self.vram_gib is None or self.footprint.peak_gib <= usable_gib(self.vram_gib)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "rows": self.rows,
            "steps": self.steps,
            "tokens_a_row": asdict(self.tokens),
            "memory_gib": {name: round(size, 3) for name, size in self.footprint.parts().items()},
            "predicted_peak_gib": round(self.footprint.peak_gib, 2),
            "gpu_gib": self.vram_gib and round(self.vram_gib, 1),
            "fits": self.fits,
            "layers_that_keep_products": self.footprint.keeping_layers,
            "estimated_hours": round(self.seconds / 3600, 2),
        }


def plan_of(
    shape: Shape,
    train: TrainConfig,
    tokens: Tokens,
    rows: int,
    dtype: torch.dtype,
    quantized: bool,
    vram_gib: float | None,
    operations_a_second: float,
    fp8: bool = False,
) -> Plan:
    """The plan of training on `rows`; `quantized`: in NF4, `fp8`: with FP8 weights.

    On a GPU of `vram_gib`, checkpointing `auto` keeps as many products as fit.
    """
    separate = family_of(shape.kind).prefix == "separate"
    step_rows = train.batch_size * train.accumulation
    share = math.ceil(step_rows / train.devices)
    pass_rows = min(train.batch_size, share)
    footprint = Footprint(
        shape,
        pass_rows * tokens.largest,
        train.lora.r,
        train.lora.targets,
        width=dtype.itemsize,
        quantized=quantized,
        accumulates=share > pass_rows,
        kept_layers=len(shape.layers) if train.gradient_checkpointing is False or vram_gib is None else 0,
        tower=train.cache_vision == "off" or vram_gib is None or separate,
        head=train.objective != "choice",
        embedding=(train.objective != "choice" and shape.tied) or separate,
        library=train.lora.dropout > 0 or separate,
        checkpointed=train.gradient_checkpointing is not False,
        visual=math.ceil(pass_rows * tokens.visual),
        fp8=fp8,
    )
    if train.gradient_checkpointing == "auto" and vram_gib is not None and not footprint.library:
        footprint = footprint.keeping(KEPT_SHARE * usable_gib(vram_gib))
    steps = math.ceil(train.epochs * math.ceil(rows / step_rows))
    decoder = 2 * shape.products * tokens.mean * footprint.passes() * train.epochs
    kept = 1 + train.augment.mirror  # of an image
    pictures = train.choice_orders * train.epochs if separate else train.epochs if train.cache_vision == "off" else kept
    tower = 2 * shape.tower_weights * shape.merge**2 * tokens.visual * pictures
    if train.cache_vision == "off" or separate:
        tower /= train.devices  # kept features are computed by each device
    seconds = rows * (decoder / train.devices + tower) / (EFFICIENCY * operations_a_second)
    return Plan(footprint, tokens, rows, steps, vram_gib, seconds)


def plan_training(
    base: Base, encoder: RowEncoder, train: TrainConfig, rows: Sequence[Row], view: ViewConfig = AS_THEY_ARE
) -> Plan:
    """The plan for a loaded base and real rows, shown in `view`."""
    on_gpu = base.device.type == "cuda"
    vram = torch.cuda.get_device_properties(base.device).total_memory / GIB if on_gpu else None
    return plan_of(
        Shape.of(base.network.config.to_dict()),
        train,
        tokens_of(encoder, rows, train.choice_orders, view),
        len(rows),
        base.dtype,
        base.quantization == "nf4",
        vram,
        matmul_ceiling(base.device, base.dtype, 4096 if on_gpu else None),
        base.quantization == "fp8",
    )
