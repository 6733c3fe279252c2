"""What vLLM and SGLang make of a PEFT adapter, as far as its files tell.

From their sources and issues as of autumn 2026: vLLM's `lora/peft_helper.py`, `lora/lora_model.py` and
`config/lora.py`; SGLang's `srt/lora/utils.py`, `srt/lora/lora_config.py` and issue 40835. Neither engine is run here.
"""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # values that --max-lora-rank takes
SGLANG_WORDS = ("all", "all-linear")  # the only texts that its target_modules may be
# Linears that SGLang applies LoRA to, by their names in a checkpoint.
SGLANG_LINEARS = (
    *("q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "out_proj", "gate_proj", "up_proj", "gate_up_proj"),
    *("down_proj", "in_proj", "in_proj_qkv", "in_proj_z", "in_proj_qkvz", "embed_tokens", "lm_head"),
)
EXPORT = "`vqaflow export adapter` writes a copy with a list"
MERGE = "Merge it: vqaflow merge_adapter"

Targets = Collection[str]
Engine = Callable[[Mapping[str, Any], Targets, Targets], Iterator[str]]


def plain_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """What in an adapter's configuration neither engine follows."""
    if (kind := config.get("peft_type", "LORA")) != "LORA":
        yield f"peft_type is {kind}, not LORA"
    if config.get("use_dora"):
        yield "use_dora: DoRA is not supported"
    if config.get("modules_to_save"):
        yield f"modules_to_save: {', '.join(config['modules_to_save'])} would stay those of the base"
    if (bias := config.get("bias", "none")) != "none":
        yield f"bias: {bias} is not supported"
    for key in ("rank_pattern", "alpha_pattern"):
        if config.get(key):
            yield f"{key}: each module is scaled by the one r and lora_alpha of the configuration"


def vllm_problems(config: Mapping[str, Any], linears: Targets, outside: Targets) -> Iterator[str]:
    """Why vLLM would refuse an adapter, or leave a part of it out without a word.

    `linears` are the last names of the modules that it changes; `outside` are full names outside the decoder.
    """
    yield from plain_problems(config)
    if config["r"] > VLLM_RANKS[-1]:
        yield f"r is {config['r']}, more than the {VLLM_RANKS[-1]} that --max-lora-rank takes"
    if outside:
        yield f"{min(outside)} is outside the decoder: without --enable-tower-connector-lora it has no effect"


def sglang_problems(config: Mapping[str, Any], linears: Targets, outside: Targets) -> Iterator[str]:
    """The same for SGLang."""
    yield from plain_problems(config)
    if isinstance(config.get("target_modules"), str) and config["target_modules"] not in SGLANG_WORDS:
        yield f"target_modules is a regular expression, which it refuses ({EXPORT})"
    if config.get("use_rslora"):
        yield "use_rslora: it divides lora_alpha by r, not by its root, so the adapter would be too weak"
    if unknown := sorted(set(linears) - set(SGLANG_LINEARS)):
        yield f"it applies no LoRA to {', '.join(unknown)}"
    if outside:
        yield f"{min(outside)} is outside the decoder, to which it applies LoRA"


ENGINES: dict[str, Engine] = {"vllm": vllm_problems, "sglang": sglang_problems}


def command(engine: str, base: str, adapter: Path, rank: int) -> str:
    """The command that serves a base and an adapter, which requests name as their model."""
    named = shlex.quote(f"tuned={adapter}")
    if engine == "vllm":
        most = next((size for size in VLLM_RANKS if size >= rank), rank)
        return f"vllm serve {shlex.quote(base)} --enable-lora --max-lora-rank {most} --lora-modules {named}"
    start = f"python -m sglang.launch_server --model-path {shlex.quote(base)}"
    return f"{start} --enable-lora --max-lora-rank {rank} --lora-paths {named}"
