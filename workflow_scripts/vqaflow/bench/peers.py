"""Unsloth and Liger at the benchmark's shape: a LoRA step as their users run it, in processes of their own.

Both replace parts of transformers; Unsloth also of torch, peft and trl, of which it asks for other versions than this
package does. So each runs in another process, which gets a checkpoint of the shape with random weights, the rows of the
other recipes, and the folder `site` with the libraries and what they need, before all other packages. What is measured
there is in peer_process.py; a row names the versions that it was measured with.

`pip install --target FOLDER unsloth` makes such a folder, and `pip install --no-deps --target FOLDER liger-kernel` adds
Liger. Without one, they must be installed beside this package.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

from vqaflow.bench.random_base import build
from vqaflow.bench.usual_recipe import model_inputs
from vqaflow.model.lora import target_pattern
from vqaflow.model.numerics import cublas
from vqaflow.plan.shape import library_config
from vqaflow.plan.timing import reset_peak
from vqaflow.runtime.process_start import last_words, package_environment

if TYPE_CHECKING:
    from vqaflow.bench.training_bench import TrainingBench

TIMEOUT_S = 900
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def measure_peer(bench: "TrainingBench", library: str, site: Path | None) -> tuple[float, float, dict[str, Any]]:
    """Seconds of a step with `library`, unsloth or liger, peak GiB, and the version of what ran.

    Raises RuntimeError with the process's last words.
    """
    from vqaflow.bench.training_bench import train_config

    if not on_gpu(bench):
        raise RuntimeError(f"{library.title()} trains on GPUs only")
    lora = train_config().lora
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = write_checkpoint(bench, folder / "checkpoint")
        torch.save({key: value.cpu() for key, value in model_inputs(bench, bench.batch).items()}, folder / "inputs.pt")
        job = {"library": library, "nf4": bench.quantization == "nf4", "tokens": bench.made.tokens(1)}
        job |= {"r": lora.r, "alpha": lora.alpha, "targets": targets}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        reset_peak(bench.device)  # frees what the process needs
        done = subprocess.run(
            [sys.executable, "-m", "vqaflow.bench.peer_process", name],
            cwd=folder,
            env=environment(site),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        found = folder / "found.json"
        if not found.is_file():
            print(done.stdout[-6000:], file=sys.stderr)
            raise RuntimeError(last_words(done.stdout) or f"it ended with code {done.returncode} and no message")
        row = json.loads(found.read_text(encoding="utf-8"))
        return row.pop("seconds"), row.pop("peak GiB"), row


def on_gpu(bench: "TrainingBench") -> bool:
    """Whether the benchmark runs on a GPU."""
    return bench.device.type == "cuda"


def environment(site: Path | None) -> dict[str, str]:
    """The process's environment: packages of `site` first, no network, no statistics."""
    quiet = {"HF_HUB_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1", "PYTHONUNBUFFERED": "1"}
    inherited = package_environment(*([str(site.resolve())] if site else []))
    return {name: value for name, value in inherited.items() if name != cublas.SETTING} | quiet


def write_checkpoint(bench: "TrainingBench", folder: Path) -> str:
    """Write a checkpoint of the bench's shape as published ones are: 16-bit random weights, configuration, processor.

    Returns the pattern of the modules that our recipes adapt.
    """
    from vqaflow.bench.training_bench import train_config

    base = build(bench.config, bench.device, "none", torch.bfloat16)
    base.network.config.dtype = torch.bfloat16
    base.network.save_pretrained(folder)
    processor_for(bench.config).save_pretrained(folder)
    return target_pattern(base, train_config().lora)


def processor_for(config: Any) -> Any:
    """A processor of the class that belongs to a config.json, with a byte-level tokenizer: it only has to load."""
    kind = library_config(config).model_type
    video = VIDEO_PROCESSOR_MAPPING_NAMES[kind]  # a name, or in later versions one per package that it needs
    video = video if isinstance(video, str) else video["torchvision"]
    vocabulary = {character: i for i, character in enumerate(sorted(bytes_to_unicode().values()))}
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=[], pad_token="<|endoftext|>", eos_token="<|im_end|>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    return getattr(transformers, PROCESSOR_MAPPING_NAMES[kind])(
        image_processor=transformers.Qwen2VLImageProcessor(patch_size=library_config(config).vision_config.patch_size),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, video)(),
        chat_template="{{ messages[0].content }}",
    )
