"""What is written beside an adapter: the plan, the settings as they were loaded, and the outcome."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ModelConfig, TrainConfig
from vqaflow.model.base import Base
from vqaflow.model.lora import target_pattern
from vqaflow.plan.footprint import GIB
from vqaflow.runtime.errors import UserError
from vqaflow.training.loop import Trainer


def settings_of(base: Base, model: ModelConfig, train: TrainConfig) -> dict[str, Any]:
    """What was loaded and what is trained, as read from the loaded modules."""
    kinds: dict[str, set[str]] = {}
    for name, module in base.network.named_modules():
        if hasattr(module, "in_features") and "lora_" not in name:
            part = name.removeprefix("model.").split(".")[0]
            kinds.setdefault(part, set()).add(type(getattr(module, "base_layer", module)).__name__)
    weights = [weight for weight in base.model.parameters() if weight.requires_grad]
    return {
        "device": torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "CPU",
        "dtype": str(base.dtype).removeprefix("torch."),
        "attention": base.network.config.get_text_config()._attn_implementation,
        "quantization": base.quantization,
        "linears": {part: sorted(found) for part, found in kinds.items()},
        "trainable": {
            "pattern": target_pattern(base, train.lora),
            "parameters": sum(weight.numel() for weight in weights),
            "dtype": sorted({str(weight.dtype).removeprefix("torch.") for weight in weights}),
        },
        "loss_scaling": base.dtype is torch.float16,
        "pixels": [model.min_pixels, model.max_pixels],
    }


def save_adapter(base: Base, model: ModelConfig, out: Path) -> None:
    """Write the adapter as PEFT does; its base is named as in the configuration, not by a local path."""
    settings = base.model.peft_config["default"]
    settings.base_model_name_or_path, settings.revision = model.base, model.revision
    base.model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def outcome(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """The outcome of a training, for run.json."""
    on_gpu, state = trainer.base.device.type == "cuda", trainer.progress
    return {
        "seconds": round(seconds, 1),
        "steps_done": state.step,
        "best_val_accuracy": state.best_accuracy if trainer.validation else None,
        "rows_a_pass": state.micro_rows,
        "measured_peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if on_gpu else None,
    }


@torch.no_grad()
def require_effect(base: Base, trainer: Trainer, rows: Sequence[Row]) -> None:
    """Raise UserError if the adapter changes no logit: then nothing was trained."""
    base.model.eval()
    orders = [[row.letters] for row in rows]
    with_adapter = trainer.model.library_states(rows, orders)
    with base.model.disable_adapter():
        without = trainer.model.library_states(rows, orders)
    if torch.equal(with_adapter, without):
        raise UserError("train_adapter: the adapter changes no logit. Raise train.learning_rate or train.epochs.")
