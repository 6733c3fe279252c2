"""One stage of `vqaflow bench growth`, in a process of its own: `python -m vqaflow.bench.growth_step FILE COMMAND …`.

It runs a command of vqaflow, or `encode TABLE BASE`, and writes what the process took to FILE.
"""

import atexit
import json
import os
import resource
import runpy
import sys
import time
from pathlib import Path


def encode(table: str, base: str) -> None:
    """Encode all rows of a table in four choice orders, as scoring does for a batch before the GPU gets it."""
    from transformers import AutoProcessor

    from vqaflow.artifacts.columns import ALL_LETTERS
    from vqaflow.artifacts.reading import read_table
    from vqaflow.artifacts.rows import rows_of
    from vqaflow.config.loading import checked_config
    from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, entries, section
    from vqaflow.model.encoding.orders import scoring_orders
    from vqaflow.model.encoding.row_encoder import RowEncoder
    from vqaflow.model.families.known import family_of

    config = checked_config()
    model, prompt = section(ModelConfig, entries(ModelConfig, config["model"])), section(PromptConfig, config["prompt"])
    encoder = RowEncoder(AutoProcessor.from_pretrained(base), model, prompt, family_of("qwen2_5_vl").template, 4)
    orders, tokens = scoring_orders(config["orders"], ALL_LETTERS[:4]), 0
    for row in rows_of(read_table(Path(table), "validate_tables")):
        tokens += encoder.encode(row, orders, ViewConfig()).tokens
    print(f"{tokens} tokens")


def peak_gib() -> float:
    """The most memory that this program has had, or one that it started; its own ru_maxrss would have its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(status.split("VmHWM:")[1].split()[0]), children) / 2**20


def write_figures(out: Path, began: float) -> None:
    """Write what the process took."""
    used = os.times()
    cpu = used.user + used.system + used.children_user + used.children_system
    figures = {"seconds": time.monotonic() - began, "CPU seconds": cpu, "peak GiB": peak_gib()}
    out.write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    out, *arguments = sys.argv[1:]
    atexit.register(write_figures, Path(out), time.monotonic())  # a command ends the process itself, past any `finally`
    if arguments[0] == "encode":
        encode(*arguments[1:])
    else:
        sys.argv = ["vqaflow", *arguments]
        runpy.run_module("vqaflow", run_name="__main__")  # as `python -m vqaflow` does
