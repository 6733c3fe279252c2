"""A training's plan as text, and a table of what fits where."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from vqaflow.config.sections import TrainConfig
from vqaflow.model.families.known import family_of
from vqaflow.plan.cards import BY_NAME
from vqaflow.plan.published import HUB_NAMES
from vqaflow.plan.shape import Shape, published
from vqaflow.plan.training_plan import Plan, plan_of, usual_tokens
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # text is not a result
# The columns of tables: cards by their memory in GiB.
CARDS = {BY_NAME[name].title: BY_NAME[name].gib for name in ("t4", "l4", "a100-40", "a100-80", "h200")}
WITHOUT_BFLOAT16 = [card.title for card in BY_NAME.values() if not card.bfloat16]
WITHOUT_FP8 = [card.title for card in BY_NAME.values() if not card.fp8]
MATRIX_VISUAL = 1024
MATRIX_BATCHES = (64, 32, 16, 8, 4, 2, 1)


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    tokens, parts = plan.tokens, sorted(plan.footprint.parts().items(), key=lambda part: -part[1])
    gpu = "" if plan.vram_gib is None else f" of {plan.vram_gib:.1f} GiB: {'fits' if plan.fits else 'does NOT fit'}"
    return [
        f"tokens per row: {tokens.mean:.0f} on average, {tokens.largest} at most; {tokens.visual:.0f} are visual",
        f"predicted peak {plan.footprint.peak_gib:.2f} GiB{gpu}",
        "  " + ", ".join(f"{name} {size:.2f}" for name, size in parts if size > 0),
        f"{plan.rows} rows, {plan.steps} steps, about {duration(plan.seconds)}",
    ]


def duration(seconds: float) -> str:
    """A time in the unit that one would say it in."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else "a minute or less"


def log_plan(plan: Plan, settings: Mapping[str, Any]) -> None:
    """Log the plan before the first step."""
    trainable = settings["trainable"]
    log.info(
        "%s, %s, %s attention, quantisation %s; %s trainable parameters in %s",
        *(settings[key] for key in ("device", "dtype", "attention", "quantization")),
        f"{trainable['parameters']:,}",
        trainable["pattern"],
    )
    for line in plan_lines(plan):
        log.info("%s", line)
    if not plan.fits:
        log.warning("this will probably run out of memory; passes are then halved until they fit")


def matrix_lines(train: TrainConfig) -> list[str]:
    """A Markdown table: the largest batch of each published model on each card, in 16 bits and in NF4."""
    lines = ["| model | " + " | ".join(CARDS) + " |", "|" + " --- |" * (1 + len(CARDS))]
    for name in HUB_NAMES.values():
        shape = published(name)
        cells = [_cell(shape, train, card) for card in CARDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    what = f"rows in one pass that fit, in 16 bits / in NF4, with {MATRIX_VISUAL} visual tokens per row"
    how = f"choice orders {train.choice_orders}, LoRA r {train.lora.r}, vision cache {train.cache_vision}"
    dtype = "The 16 bits are float16, or bfloat16 for families that overflow float16; the T4 has no bfloat16."
    return [*lines, "", f"{what}; {how}. –: not one. {dtype}"]


def _cell(shape: Shape, train: TrainConfig, card: str) -> str:
    """The largest batches of a shape on a card, in 16 bits / in NF4."""
    if card in WITHOUT_BFLOAT16 and family_of(shape.kind).float16:
        return "no float16"
    batches = [largest_batch(shape, train, CARDS[card], quantized) for quantized in (False, True)]
    return " / ".join(str(batch or "–") for batch in batches)


def largest_batch(shape: Shape, train: TrainConfig, vram_gib: float, quantized: bool) -> int:
    """The most rows in one pass that fit, of MATRIX_BATCHES; 0 if not one does."""
    tokens = usual_tokens([MATRIX_VISUAL], train.choice_orders, shape)
    for batch in MATRIX_BATCHES:
        one = replace(train, batch_size=batch)
        if plan_of(shape, one, tokens, batch, torch.float16, quantized, vram_gib, 1e12).fits:
            return batch
    return 0
