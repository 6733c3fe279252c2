"""`vqaflow bench train`: seconds and memory of a training step on a random model of a published shape.

The rows of a batch are the same for every recipe: one image and a text with four choices. The usual recipe is in
usual_recipe.py, TRL's in trl.py, Unsloth's and Liger's in peers.py; ours is the training loop itself.
"""

import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqaflow.bench.repeated import run_times
from vqaflow.bench.tools import machine, table, write_results
from vqaflow.bench.training_bench import IN_FLOAT16, MEMORY_GOAL_GIB, SHOWN_COLUMNS, TrainingBench
from vqaflow.model.base import best_device

RECIPES = ("usual", "trl", "peft", "liger", "unsloth", "ours", "checks")
NOTEBOOKS = ("usual", "trl")
PEFT = "Transformers + PEFT, logits at the answer only"
UNSLOTH = "Unsloth"
LIGER = "Liger kernels in Transformers + PEFT"
IN_THE_SAME = "ours, in Unsloth's memory"


def bench_train(
    shape: str,
    batch: int,
    only: Sequence[str] | None,
    out: Path | None,
    quantization: str | None = None,
    visual: int | None = None,
    site: Path | None = None,
    runs: int = 1,
) -> None:
    """Measure the recipes `only` with `batch` rows per pass, print the table, and write all figures to `out`.

    `site` is a folder with Unsloth, Liger and what they need. By default all recipes are measured, but those of
    notebooks with a Qwen2.5-VL only, in which they were written. With several `runs`, the rows have their spread.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the GPU is used; reproducibility needs it
    device = best_device()
    bench = TrainingBench(shape, device, batch, quantization, visual)
    only = only or (RECIPES if shape in IN_FLOAT16 else [name for name in RECIPES if name not in NOTEBOOKS])
    print(f"matrix products reach {bench.ceiling / 1e12:.3g} TFLOP/s; one row has {bench.made}\n", flush=True)
    checks: dict[str, Any] = {}

    def run() -> list[dict[str, Any]]:
        bench.results = []
        left = [name for name in only if name != "checks" or not checks]  # they find the same each time
        checks.update(measure_all(bench, left, site))
        return bench.results

    rows = run_times(runs, run)
    results = {
        "machine": machine(device),
        "shape": shape,
        "dtype": str(bench.dtype).removeprefix("torch."),
        "quantization": bench.quantization,
        "row": str(bench.made),
        "ceiling_tflops": bench.ceiling / 1e12,
        "runs": runs,
        "rows": rows,
        "checks": checks,
        "summary": summary(rows),
    }
    print("\n" + table(rows, SHOWN_COLUMNS) + "\n")
    for name, value in (results["summary"] | checks).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    write_results(out, results)


def measure_all(bench: TrainingBench, only: Sequence[str], site: Path | None = None) -> dict[str, Any]:
    """Run the recipes `only`. Returns the outcome of the checks."""
    checks: dict[str, Any] = {}
    batch = bench.batch
    if "usual" in only:
        from vqaflow.bench.usual_recipe import measure_usual

        for name, suffixes in (("usual recipe", True), ("usual recipe, adapter in the decoder only", False)):
            bench.add(name, batch, 1, False, lambda s=suffixes: measure_usual(bench, s))
    if "trl" in only:
        from vqaflow.bench.trl import measure_trl

        bench.add("TRL SFTTrainer", batch, 1, False, lambda: measure_trl(bench))
    if "peft" in only:
        from vqaflow.bench.usual_recipe import measure_peft

        bench.add(PEFT, batch, 1, False, lambda: measure_peft(bench))
    for library, name in (("liger", LIGER), ("unsloth", UNSLOTH)):
        if library in only:
            from vqaflow.bench.peers import measure_peer

            bench.add(name, batch, 1, False, lambda library=library: measure_peer(bench, library, site))
    if "checks" in only:
        from vqaflow.bench.checks import check

        try:
            checks = check(bench)
        except Exception as error:  # as in TrainingBench.add
            traceback.print_exc()
            checks = {"error": f"{type(error).__name__}: {error}"}
    if "ours" in only:
        bench.ours(our_cases(bench))
    return checks


def our_cases(bench: TrainingBench) -> list[tuple[str, int, int, bool, dict[str, Any]]]:
    """The cases of our loop; where Unsloth was measured, also with products kept in no more memory than it took."""
    batch, fill, eager = bench.batch, {"gradient_checkpointing": "auto"}, {"compile": False}
    unsloth = [row["peak GiB"] for row in bench.results if row["recipe"] == UNSLOTH and "peak GiB" in row]
    small = {"gradient_checkpointing": "auto", "limit_gib": unsloth[0]} if unsloth else {}
    within = [(IN_THE_SAME, batch, k, cached, small) for cached in (False, True) for k in (1, 4)] if unsloth else []
    return [
        ("ours, not compiled", batch, 1, True, eager),
        ("ours, not compiled", batch, 4, True, eager),
        ("ours", batch, 1, False, {}),
        ("ours", batch, 4, False, {}),
        ("ours", batch, 1, True, {}),
        ("ours", batch, 4, True, {}),
        *within,
        ("ours", batch, 1, False, fill),
        ("ours", batch, 4, False, fill),
        ("ours", batch, 1, True, fill),
        ("ours", batch, 4, True, fill),
        ("ours", 4 * batch, 1, True, {}),
        ("ours", 4 * batch, 4, True, {}),
        ("ours, nothing recomputed", batch, 1, True, {"gradient_checkpointing": False}),
    ]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The figures of the goals, each from the best row that counts for it."""
    usual = [row for row in rows if row["recipe"].startswith("usual") and "s/row" in row]
    peers = [row for row in rows if row["recipe"] in (PEFT, LIGER, UNSLOTH) and "s/row" in row]
    others = {f"over {row['recipe'].split(',')[0]}": row for row in peers}
    ours = [
        row for row in rows if row["recipe"].startswith("ours") and "s/row" in row and row["batch"] == rows[0]["batch"]
    ]
    found: dict[str, float] = {}
    for vision in ("cached", "every step"):
        one, four = ([r for r in ours if r["orders"] == k and r["vision"] == vision] for k in (1, 4))
        label = "cached vision" if vision == "cached" else "tower in every step"
        if one and four:
            best_one, best_four = (min(group, key=lambda r: r["s/row"]) for group in (one, four))
            found[f"four orders over one, {label}"] = best_four["s/row"] / best_one["s/row"]
        for name, group in (("one order", one), ("four orders", four)):
            for over, other in others.items():
                fitting = [r for r in group if other["recipe"] == PEFT or r["peak GiB"] <= other["peak GiB"]]
                if fitting:
                    best = max(r["row·orders/s"] for r in fitting)
                    found[f"{name}, {label}: rows x orders/s {over}"] = best / other["row·orders/s"]
            within = [r for r in group if r["peak GiB"] <= MEMORY_GOAL_GIB]
            if usual and within:
                best = max(r["row·orders/s"] for r in within)
                slowest, fastest = (pick(r["row·orders/s"] for r in usual) for pick in (min, max))
                found[f"{name}, {label}: rows x orders/s over the usual recipe"] = best / slowest
                found[f"{name}, {label}: over its decoder-only variant"] = best / fastest
    errors = [abs(r["predicted"] / r["peak GiB"] - 1) for r in rows if r.get("predicted") and r.get("peak GiB")]
    if errors:
        found["largest error of the predicted peak"] = max(errors)
    return found
