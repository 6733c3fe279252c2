"""What the benchmarks share: honest timing, the machine's ceiling, and their tables."""

import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vqaflow.files import write_json

GIB = 2**30
CEILING_SIZE = 8192
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "trl", "triton")


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
    """Start a new peak of allocated memory, without what nobody refers to any more."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(device: torch.device) -> float:
    """The most memory that tensors took since `reset_peak`, in GiB."""
    return torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else 0.0


def matmul_ceiling(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Floating-point operations a second of a large square matrix product on random data."""
    size = size or (CEILING_SIZE if device.type == "cuda" else 512)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds, _ = measure(lambda: left @ right, device, repeats=10, warmups=3)
    return 2 * size**3 / seconds


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on: device, versions, date."""
    told: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "python": platform.python_version()}
    told["device"] = "CPU"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        told |= {"device": properties.name, "device_gib": round(properties.total_memory / GIB, 1)}
        told["compute_capability"] = f"{properties.major}.{properties.minor}"
        told["cuda"] = torch.version.cuda
    for name in PACKAGES:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            told[name] = None
    return told


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table; numbers with three figures, missing ones empty."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def write_results(path: Path | None, results: Mapping[str, Any]) -> None:
    """Write the benchmark's JSON if a path is given."""
    if path is not None:
        write_json(path, results)
        print(f"\nwritten to {path}", file=sys.stderr)
