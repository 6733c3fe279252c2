"""What `auto` in the section `model` means on this machine: keys of the store name the precision, never `auto`.

Otherwise a machine with a GPU would get from a shared store what a CPU computed in another precision, and the reverse.
"""

import ctypes
from dataclasses import asdict
from typing import Any

from vqaflow.config.sections import ModelConfig

AUTO = "auto"
DRIVER = "libcuda.so.1"  # without it, torch finds no GPU


def resolved(model: ModelConfig) -> dict[str, Any]:
    """The keys of `model` that a result depends on, `auto` resolved; the base is left out, because its digest counts.

    Raises UserError if the precision is not possible on this machine's GPU.
    """
    dtype, how = model.compute_dtype, model.quantization
    if AUTO in (dtype, how):
        dtype, how = _on_gpu(model) if has_driver() else _on_cpu(model)
    return asdict(model) | {"base": None, "compute_dtype": dtype, "quantization": how}


def has_driver() -> bool:
    """Whether there can be a GPU here: asked without torch, which takes seconds to import."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _on_cpu(model: ModelConfig) -> tuple[str, str]:
    dtype = "float32" if model.compute_dtype == AUTO else model.compute_dtype
    return dtype, "none" if model.quantization == AUTO else model.quantization


def _on_gpu(model: ModelConfig) -> tuple[str, str]:
    from vqaflow.model.base import best_device, compute_dtype, quantization
    from vqaflow.model.numerics.precision import name_of

    device = best_device()
    return name_of(compute_dtype(model, device)), quantization(model, device)
