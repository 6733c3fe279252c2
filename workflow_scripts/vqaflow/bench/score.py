"""`vqaflow bench score`: seconds per row for scoring with a random model of a published shape, in parts and in total.

It compares the work of three adapters and four choice orders for each row: twelve calls of the usual predictor, twelve
plain passes, or three passes that share the prefix of the orders and, through files, the image's features.
"""

from pathlib import Path
from typing import Any

import torch

from vqaflow.bench.load import measure_loading
from vqaflow.bench.repeated import run_times
from vqaflow.bench.scoring_bench import (
    ADAPTERS,
    ORDERS,
    PARTS,
    WHOLE,
    ScoringBench,
    compare_with_float32,
    free,
    measure_ours,
    measure_plain,
    measure_tower,
    measure_usual,
)
from vqaflow.bench.strongest import measure_strongest
from vqaflow.bench.tools import machine, table, write_results
from vqaflow.model.base import best_device


def bench_score(
    shape: str,
    rows: int,
    batch_tokens: int | None,
    load: Path | None,
    out: Path | None,
    quantization: str | None = None,
    visual: int | None = None,
    runs: int = 1,
) -> None:
    """Measure with `rows` rows and `batch_tokens` tokens per pass, print the tables, write all figures to `out`.

    With the folder `load`, the loading of a checkpoint of this shape is timed too. With several `runs`, the rows have
    their spread.
    """
    device = best_device()
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    tokens = batch_tokens or (18432 if device.type == "cuda" else 4096)
    bench = ScoringBench(shape, device, rows, tokens, quantization, visual)
    print(f"matrix products reach {bench.ceiling / 1e12:.3g} TFLOP/s; one row has {bench.made}\n", flush=True)

    def run() -> list[dict[str, Any]]:
        bench.whole, bench.parts = [], []
        free(bench)
        measure_all(bench)
        return bench.whole + bench.parts

    rows = run_times(runs, run)
    whole, parts = ([row for row in rows if key in row] for key in ("what", "part"))
    for row in whole:  # the first row's median is another run's, maybe
        row["times the usual"] = whole[0]["s/row"] / row["s/row"]
    results = {
        "machine": machine(device),
        "shape": shape,
        "dtype": str(bench.dtype).removeprefix("torch."),
        "row": str(bench.made),
        "adapters": ADAPTERS,
        "orders": len(ORDERS),
        "ceiling_tflops": bench.ceiling / 1e12,
        "runs": runs,
        "whole": whole,
        "parts": parts,
        "checks": bench.checks,
    }
    if load:
        free(bench)
        results["loading"] = measure_loading(bench.config, device, load)
    print(f"\n{table(whole, WHOLE)}\n\n{table(parts, PARTS)}\n")
    for name, value in (bench.checks | results.get("loading", {})).items():
        print(f"{name}: {value:.3g}")
    write_results(out, results)


def measure_all(bench: ScoringBench) -> None:
    """Everything, with one random model at a time in memory."""
    on_gpu = bench.device.type == "cuda"
    if bench.has_usual:
        measure_usual(bench)
        free(bench)
    base = bench.build(bench.quantization)
    adapter, expected = measure_plain(bench, base, timed=True)
    free(bench)
    mine = measure_ours(bench, base, adapter, False, expected)
    if on_gpu:
        mine = measure_ours(bench, base, adapter, True, expected)
        if bench.quantization != "none":
            del base
            free(bench)
            base = bench.build("none")
            adapter, expected = measure_plain(bench, base, timed=False)
            measure_ours(bench, base, adapter, False, expected)
            mine = measure_ours(bench, base, adapter, True, expected)
    measure_tower(bench, base)
    if bench.fits_in_float32:
        compare_with_float32(bench, base, adapter, {"ours": mine, "the library": expected})
    if bench.has_usual:
        del base
        free(bench)
        measure_strongest(bench, compiled=on_gpu)
