"""TRL's SFTTrainer at the benchmark's shape, with the settings that serve it best here.

The random model has no processor, so the dataset holds ready token ids and the collator adds ready patches: reading
and encoding cost TRL nothing, as they cost the other recipes nothing. QLoRA in TRL holds adapters in bfloat16, which
float16's loss scaling refuses, so it runs in bfloat16 here; the unlabelled positions are dropped before the head
(its fused head), the adapter is kept to the decoder, and checkpointing is not re-entrant.
"""

import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig as PeftLoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, TrainerCallback

from vqaflow.bench.random_base import build
from vqaflow.bench.usual_recipe import model_inputs
from vqaflow.model.lora import target_pattern
from vqaflow.plan.timing import peak_gib, reset_peak

if TYPE_CHECKING:
    from vqaflow.bench.training_bench import TrainingBench


STEPS, WARMUPS = 6, 3


class StepClock(TrainerCallback):
    """Notes when steps end; the peak of memory counts from the end of the warm-up."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ends = device, []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer after every optimiser step."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        if len(self.ends) == WARMUPS:
            reset_peak(self.device)
            self.ends[-1] = time.perf_counter()


def measure_trl(bench: "TrainingBench") -> tuple[float, float]:
    """Seconds of a step and peak GiB."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from vqaflow.bench.training_bench import train_config

    lora, on_gpu = train_config().lora, bench.device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    base = build(bench.config, bench.device, bench.quantization, dtype)
    base.visual.config._attn_implementation = "sdpa"
    vocabulary = {"<pad>": 0, "<eos>": 1}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="<pad>")), pad_token="<pad>", eos_token="<eos>"
    )
    inputs = model_inputs(bench, bench.batch)
    columns = {name: inputs[name].tolist() * (STEPS + WARMUPS) for name in ("input_ids", "labels")}
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            folder,
            per_device_train_batch_size=bench.batch,
            max_steps=STEPS + WARMUPS,
            bf16=on_gpu,
            fp16=False,
            use_cpu=not on_gpu,
            gradient_checkpointing=True,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            optim="adamw_torch_fused",
            learning_rate=2e-5,
            report_to="none",
            logging_strategy="no",
            save_strategy="no",
        )
        clock = StepClock(bench.device)
        SFTTrainer(
            base.model,
            settings,
            train_dataset=Dataset.from_dict(columns),
            data_collator=lambda rows: dict(inputs),
            processing_class=tokenizer,
            peft_config=PeftLoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=target_pattern(base, lora)),
            callbacks=[clock],
        ).train()
    ends = clock.ends[WARMUPS - 1 :]
    seconds = statistics.median(later - earlier for earlier, later in zip(ends, ends[1:], strict=False))
    return seconds, peak_gib(bench.device)
