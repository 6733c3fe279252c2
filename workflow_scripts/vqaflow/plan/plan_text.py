"""A training's plan as text."""

from collections.abc import Mapping
from typing import Any

from vqaflow.plan.training_plan import Plan
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # text is not a result


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text."""
    tokens, parts = plan.tokens, sorted(plan.footprint.parts().items(), key=lambda part: -part[1])
    gpu = "" if plan.vram_gib is None else f" of {plan.vram_gib:.1f} GiB: {'fits' if plan.fits else 'does NOT fit'}"
    return [
        f"tokens per row: {tokens.mean:.0f} on average, {tokens.largest} at most; {tokens.visual:.0f} are visual",
        f"predicted peak {plan.footprint.peak_gib:.2f} GiB{gpu}",
        "  " + ", ".join(f"{name} {size:.2f}" for name, size in parts if size > 0),
        f"{plan.rows} rows, {plan.steps} steps, about {plan.seconds / 3600:.1f} hours",
    ]


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
