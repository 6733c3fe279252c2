"""Time and memory of work on a GPU: events around the work, the median of several runs, and the peak of memory."""

import statistics
import time
from collections.abc import Callable

import torch

GIB = 2**30
CEILING_SIZE = 8192


def measure(run: Callable[[], object], device: torch.device, repeats: int = 5, warmups: int = 2) -> tuple[float, float]:
    """Median seconds of `run` and the peak of allocated memory in GiB (0 on a CPU), after `warmups` calls."""
    for _ in range(warmups):
        run()
    reset_peak(device)
    seconds = statistics.median(_seconds(run, device) for _ in range(repeats))
    return seconds, peak_gib(device)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        run()
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


def reset_peak(device: torch.device) -> None:
    """Reset the peak of allocated memory, after freeing what is no longer used."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float:
    """The most memory that tensors took since `reset_peak`, in GiB."""
    return torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else 0.0


def matmul_ceiling(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating-point operations per second of a large square matrix product on random data."""
    size = size or (CEILING_SIZE if device.type == "cuda" else 512)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds, _ = measure(lambda: left @ right, device, repeats=10, warmups=3)
    return 2 * size**3 / seconds
