"""Other recipes to compare with: the usual one of competition notebooks, and Transformers + PEFT used well.

The usual recipe, as its author wrote it: 4-bit loading without a list of exceptions (the vision tower is quantised
too), prepare_model_for_kbit_training, adapters by the last part of a module's name (the tower's MLPs get them too), the
library's forward over the whole vocabulary at every position, label smoothing as the Trainer does it, gradient
checkpointing, float16 autocast.

Transformers + PEFT: adapters in the decoder only, logits at the answer only, gradient checkpointing, a frozen tower
without a graph, autocast in the benchmark's precision.
"""

from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model, prepare_model_for_kbit_training
from transformers.trainer_pt_utils import LabelSmoother

from vqaflow.bench.random_base import build
from vqaflow.model.lora import target_pattern
from vqaflow.plan.timing import measure

if TYPE_CHECKING:
    from vqaflow.bench.training_bench import TrainingBench


IGNORED = -100


def model_inputs(bench: "TrainingBench", batch: int) -> dict[str, torch.Tensor]:
    """What the library's forward takes, on the device, with the last token as the only label."""
    rows = [bench.made.encoded(i, 1) for i in range(batch)]
    ids = torch.tensor([row.prefix_ids + row.branch_ids[0] for row in rows])
    labels = torch.full_like(ids, IGNORED)
    labels[:, -1] = ids[:, -1]
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == bench.made.image_token).long(),
        "pixel_values": torch.cat(bench.made.pixels(batch)),
        "image_grid_thw": torch.tensor([row.grid for row in rows]),
        "labels": labels,
    }
    return {name: value.to(bench.device) for name, value in inputs.items()}


def measure_usual(bench: "TrainingBench", by_suffix: bool) -> tuple[float, float]:
    """Seconds of a step and peak GiB; `by_suffix` adds adapters by the last part of a module's name."""
    from vqaflow.bench.training_bench import train_config

    lora, quantized = train_config().lora, bench.device.type == "cuda"
    base = build(bench.config, bench.device, "nf4-tower" if quantized else "none", bench.dtype)
    network: Any = base.model
    network.model.visual.config._attn_implementation = "sdpa"
    network = prepare_model_for_kbit_training(network) if quantized else network
    targets = list(lora.targets) if by_suffix else target_pattern(base, lora)
    network = get_peft_model(network, PeftLoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=targets))
    network.train()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-5)
    scaler = torch.amp.GradScaler(bench.device.type, enabled=quantized)
    smoother = LabelSmoother(epsilon=0.05)
    inputs = model_inputs(bench, bench.batch)

    def step() -> None:
        with torch.autocast(bench.device.type, dtype=torch.float16, enabled=quantized):
            output = network(**{name: value for name, value in inputs.items() if name != "labels"}, use_cache=False)
            loss = smoother(output, inputs["labels"])
        update(loss, weights, optimizer, scaler)

    return measure(step, bench.device, repeats=3, warmups=1)


def measure_peft(bench: "TrainingBench") -> tuple[float, float]:
    """Seconds of a step and peak GiB of Transformers + PEFT, with one choice order and the tower in every step."""
    from vqaflow.bench.training_bench import train_config

    lora, device = train_config().lora, bench.device
    base = build(bench.config, device, bench.quantization, bench.dtype)
    base.visual.config._attn_implementation = "sdpa"
    base.network.gradient_checkpointing_enable({"use_reentrant": False})
    targets = target_pattern(base, lora)
    network = get_peft_model(base.model, PeftLoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=targets))
    network.train()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-5)
    scaler = torch.amp.GradScaler(device.type, enabled=bench.dtype is torch.float16)
    inputs = model_inputs(bench, bench.batch)
    answers = inputs.pop("labels")[:, -1]

    def step() -> None:
        with torch.autocast(device.type, dtype=bench.dtype, enabled=bench.dtype is not torch.float32):
            logits = network(**inputs, logits_to_keep=1, use_cache=False).logits[:, -1]
        loss = torch.nn.functional.cross_entropy(logits.float(), answers)
        update(loss, weights, optimizer, scaler)

    return measure(step, device, repeats=3, warmups=1)


def update(
    loss: torch.Tensor,
    weights: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Backward, clipping and the optimizer's step, as a usual training loop does them."""
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
