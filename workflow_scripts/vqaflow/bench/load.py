"""How long a base takes to load: quantised from its checkpoint each time, or as the rule store_base stores it."""

import gc
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vqaflow.bench.random_base import build
from vqaflow.config.sections import ModelConfig
from vqaflow.model.base import load_network
from vqaflow.model.stored_base import save_network


def measure_loading(config: Mapping[str, Any], device: torch.device, folder: Path) -> dict[str, float]:
    """Seconds of each way to load a random checkpoint of a config.json.

    It is written to `folder` in bfloat16, as checkpoints are published. All files are in the system's page cache, as
    they are for every job after the first.
    """
    checkpoint, stored = folder / "checkpoint", folder / "stored"
    base = build(config, device, "none", torch.bfloat16)
    base.network.config.dtype = torch.bfloat16
    base.network.save_pretrained(checkpoint)
    del base
    half = "float16" if device.type == "cuda" else "float32"

    def model(quantization: str) -> ModelConfig:
        return ModelConfig(str(checkpoint), None, quantization, half, 784, 784)

    seconds: dict[str, float] = {}
    _quantise_and_store(seconds, model("nf4"), device, stored)
    for name in ("loading the stored base: s", "loading the stored base again: s"):
        _timed(seconds, name, lambda: load_network(model("nf4"), device, stored))
    _timed(seconds, f"loading the checkpoint in {half}: s", lambda: load_network(model("none"), device))
    for name, place in (("checkpoint: GB", checkpoint), ("stored base: GB", stored)):
        seconds[name] = sum(file.stat().st_size for file in place.iterdir()) / 1e9
    return seconds


def _quantise_and_store(seconds: dict[str, float], model: ModelConfig, device: torch.device, stored: Path) -> None:
    """Time both halves of the rule store_base; the network is freed with this function's end."""
    name = "loading the checkpoint, quantised on the way: s"
    network = _timed(seconds, name, lambda: load_network(model, device))
    _timed(seconds, "storing the quantised base, once: s", lambda: save_network(network, stored))


def _timed(seconds: dict[str, float], name: str, run: Callable[[], Any]) -> Any:
    """What `run` returns; its seconds go under `name`."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    began = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds[name] = time.perf_counter() - began
    print(f"{name} {seconds[name]:.3g}", flush=True)
    return result
