"""What the benchmarks share: honest timing (plan/timing.py), facts about the machine, and tables."""

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vqaflow.plan.timing import GIB, matmul_ceiling, measure, peak_gib, reset_peak
from vqaflow.runtime.files import write_json

__all__ = ["machine", "matmul_ceiling", "measure", "peak_gib", "reset_peak", "table", "write_results"]
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "trl", "triton")


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on: device, versions, date."""
    found: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "python": platform.python_version()}
    found["device"] = "CPU"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"device": properties.name, "device_gib": round(properties.total_memory / GIB, 1)}
        found["compute_capability"] = f"{properties.major}.{properties.minor}"
        found["cuda"] = torch.version.cuda
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table; numbers with three digits, missing ones empty."""
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
