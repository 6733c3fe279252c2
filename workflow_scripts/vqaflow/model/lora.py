"""LoRA on the language model's linears, chosen by path: names alone would also match the vision tower's linears."""

import re
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model

from vqaflow.config.sections import LoraConfig
from vqaflow.model.base import Base
from vqaflow.model.families.generic import adapted_modules
from vqaflow.runtime.errors import UserError


def target_pattern(base: Base, lora: LoraConfig) -> str:
    """The regular expression that the full names of the adapted modules match.

    Raises UserError if the decoder has none of the linears that train.lora.targets names.
    """
    family = base.family
    if base.is_separate:
        adapted_modules(base.network, lora.targets)
        names = "|".join(map(re.escape, sorted(lora.targets)))
        return rf"{re.escape(family.decoder)}\.layers\.(?:\w+\.)*(?:{names})"
    names = sorted({path for target in lora.targets for path in family.adapted[target]})
    if not names:
        raise UserError(
            f"config train.lora.targets: {family.name} has no linears named {', '.join(lora.targets)} outside its "
            f"experts. Add {', '.join(name for name, paths in family.adapted.items() if paths)}."
        )
    return rf"{re.escape(family.decoder)}\.layers\.\d+\.(?:{'|'.join(map(re.escape, names))})"


def add_adapter(base: Base, lora: LoraConfig, seed: int) -> None:
    """Put a new float32 adapter on `base`; nothing else is trainable.

    Until it is trained, the adapter does not change the base's output (B is zero). The embeddings and the tower must
    not require gradients: non-reentrant checkpointing does not need that, and backward would run through the tower.
    """
    torch.manual_seed(seed)
    config = PeftLoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=target_pattern(base, lora),
        bias="none",
    )
    base.model = get_peft_model(base.model, config)
    for name, weight in base.model.named_parameters():
        assert not weight.requires_grad or ".lora_" in name, f"{name} must be frozen"
        assert not weight.requires_grad or weight.dtype is torch.float32, f"{name} must be float32"
        assert not weight.requires_grad or f"{base.family.decoder}.layers." in name, f"{name} is outside the decoder"


def trainable(base: Base) -> list[torch.nn.Parameter]:
    """The adapter's weights."""
    return [weight for weight in base.model.parameters() if weight.requires_grad]


def rate_groups(base: Base, rate: float, ratio: float) -> list[dict[str, Any]]:
    """The adapter's weights as an optimiser's groups: the matrices A learn at `rate`, the matrices B at `ratio` · rate.

    LoRA+ (Hayou, Ghosh and Yu, arXiv 2402.12354, section 4), which proposes a ratio of about 16; 1 is plain LoRA.
    """
    named = [(name, weight) for name, weight in base.model.named_parameters() if weight.requires_grad]
    of_b = [weight for name, weight in named if ".lora_B." in name]
    of_a = [weight for name, weight in named if ".lora_B." not in name]
    return [{"params": of_a, "lr": rate}, {"params": of_b, "lr": ratio * rate}]
