"""`python -m vqaflow.bench train`: seconds and memory of a training step on a random model of a published shape.

The rows of a batch are the same for every recipe: one image and a text with four choices. The usual recipe is in
bench_seed.py, TRL's in bench_trl.py; ours is the training loop itself.
"""

import argparse
import gc
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqaflow.bench_rows import MadeEncoder, MadeFeatures, MadeRows
from vqaflow.bench_tools import machine, matmul_ceiling, measure, reset_peak, table, write_results
from vqaflow.config import AugmentConfig, LoraConfig, TrainConfig
from vqaflow.footprint import Footprint
from vqaflow.lora import add_adapter
from vqaflow.orders import all_orders, cyclic_shifts
from vqaflow.shapes import SHAPES, build
from vqaflow.train_adapter import make_deterministic, place
from vqaflow.training_loop import Trainer

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
COLUMNS = [
    "recipe",
    "batch",
    "orders",
    "vision",
    "s/row",
    "rows/s",
    "row·orders/s",
    "peak GiB",
    "predicted",
    "of ceiling",
]
MEMORY_GOAL_GIB = 9.5
REPEATS = {"cuda": 7, "cpu": 2}


def train_config(**changes: Any) -> TrainConfig:
    """The settings of the benchmark: LoRA of rank 24 on all linears."""
    lora = LoraConfig(r=24, alpha=48, dropout=0.0, targets=TARGETS)
    settings = TrainConfig(
        objective="choice",
        choice_orders=1,
        epochs=3,
        learning_rate=2e-5,
        weight_decay=0.01,
        warmup_ratio=0.05,
        batch_size=4,
        accumulation=1,
        max_grad_norm=1.0,
        label_smoothing=0.05,
        seed=42,
        lora=lora,
        gradient_checkpointing=True,
        compile=True,
        cache_vision="off",
        validate_every=1.0,
        checkpoint_minutes=10,
        keep="last",
        early_stopping=0,
        max_minutes=0,
        trackers=(),
        augment=AugmentConfig(shuffle_choices=False, paraphrase=False),
    )
    return replace(settings, **changes)


class Bench:
    """Measures recipes on one machine and collects the table's rows."""

    def __init__(self, shape: str, device: torch.device, batch: int) -> None:
        self.shape, self.device, self.batch = SHAPES[shape], device, batch
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.quantization = "nf4" if device.type == "cuda" else "none"
        self.made = MadeRows(self.shape, small=shape == "tiny")
        self.results: list[dict[str, Any]] = []
        self.ceiling = matmul_ceiling(device, self.dtype)

    def add(self, recipe: str, batch: int, orders: int, cached: bool, run: Callable[[], tuple[float, float]]) -> None:
        """Run one recipe and keep its row; an error is a row too, so that the others are still measured."""
        row: dict[str, Any] = {
            "recipe": recipe,
            "batch": batch,
            "orders": orders,
            "vision": "cached" if cached else "every step",
        }
        try:
            seconds, peak = run()
            row |= {"s/row": seconds / batch, "rows/s": batch / seconds, "row·orders/s": batch * orders / seconds}
            row |= {"peak GiB": peak, "of ceiling": self.work(batch, orders, cached) / seconds / self.ceiling}
        except Exception as error:  # a library that cannot run here must not cost the other rows
            traceback.print_exc()
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.results.append(row)
        print(table([row], COLUMNS).splitlines()[-1], row.get("error", ""), flush=True)
        gc.collect()
        reset_peak(self.device)

    def work(self, batch: int, orders: int, cached: bool) -> float:
        """Operations of a step with checkpointing as the field counts it: three passes, and one of the tower."""
        decoder = 3 * 2 * self.shape.linear_weights * self.made.tokens(orders) * batch
        tower = 2 * self.shape.tower_weights * self.made.patches * batch
        return decoder if cached else decoder + tower

    def ours(self, cases: Sequence[tuple[str, int, int, bool, dict[str, Any]]], limit_gib: float | None = None) -> None:
        """Measure cases (name, batch, orders, cached vision, changed settings) of our loop on one loaded base."""
        make_deterministic()
        for name, batch, orders, cached, changes in cases:
            train = train_config(batch_size=batch, choice_orders=orders, **changes)
            keep = Footprint.kept_layers
            footprint = self.footprint(train, batch, orders, cached)
            if train.gradient_checkpointing == "auto":
                footprint = footprint.keeping(limit_gib or MEMORY_GOAL_GIB)
                keep = footprint.kept_layers
                name = f"{name}, {keep} layers keep products"
            if train.gradient_checkpointing is False:
                footprint = replace(footprint, kept_layers=self.shape.layers)
                keep = self.shape.layers
            self.add(name, batch, orders, cached, lambda a=(train, orders, cached, keep): self._our_step(*a))
            self.results[-1] |= {"predicted": footprint.peak_gib, "passes": footprint.passes()}

    def footprint(self, train: TrainConfig, batch: int, orders: int, cached: bool) -> Footprint:
        """The predicted memory of a case."""
        return Footprint(
            self.shape,
            batch * self.made.tokens(orders),
            train.lora.r,
            train.lora.targets,
            width=self.dtype.itemsize,
            quantized=self.quantization == "nf4",
            tower=not cached,
        )

    def trainer(self, train: TrainConfig, orders: int, cached: bool, kept: int) -> tuple[Trainer, list[Any]]:
        """Our loop on a fresh base, and the rows of a step."""
        base = build(self.shape, self.device, self.quantization, self.dtype)
        add_adapter(base, train.lora, train.seed)
        features = MadeFeatures(base, self.made, cached)
        place(base, train, tower=not cached)
        rows = self.made.rows(train.batch_size)
        trainer = Trainer(base, MadeEncoder(self.made), features, rows, [], train)
        trainer.model.keep(kept)
        shown = (cyclic_shifts("abcd") if orders <= 4 else all_orders())[:orders]
        return trainer, [(row, shown) for row in rows]

    def _our_step(self, train: TrainConfig, orders: int, cached: bool, kept: int) -> tuple[float, float]:
        trainer, drawn = self.trainer(train, orders, cached, kept)
        return measure(lambda: trainer.step(drawn), self.device, REPEATS[self.device.type])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.bench train", description=__doc__)
    parser.add_argument(
        "--shape", choices=SHAPES, default="7b", help="a published shape, or tiny, the demo's, for a CPU"
    )
    parser.add_argument("--batch", type=int, default=4, help="rows in a pass")
    parser.add_argument("--only", nargs="*", default=["seed", "trl", "ours", "checks"], help="which recipes to run")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    settings = parser.parse_args(arguments)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the GPU is used; reproducibility needs it
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(settings.shape, device, settings.batch)
    print(f"matrix products reach {bench.ceiling / 1e12:.3g} TFLOP/s; one row has {bench.made}\n", flush=True)
    checks = measure_all(bench, settings.only)
    results = {
        "machine": machine(device),
        "shape": settings.shape,
        "row": str(bench.made),
        "ceiling_tflops": bench.ceiling / 1e12,
        "rows": bench.results,
        "checks": checks,
        "summary": summary(bench.results),
    }
    print("\n" + table(bench.results, COLUMNS) + "\n")
    for name, value in (results["summary"] | checks).items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    write_results(settings.json, results)


def measure_all(bench: Bench, only: Sequence[str]) -> dict[str, Any]:
    """Run the recipes that were asked for; returns the checks' outcome."""
    checks: dict[str, Any] = {}
    batch = bench.batch
    if "seed" in only:
        from vqaflow.bench_seed import measure_seed

        for name, suffixes in (("seed's recipe", True), ("seed's recipe, adapter in the decoder only", False)):
            bench.add(name, batch, 1, False, lambda s=suffixes: measure_seed(bench, s))
    if "trl" in only:
        from vqaflow.bench_trl import measure_trl

        bench.add("TRL SFTTrainer", batch, 1, False, lambda: measure_trl(bench))
    if "checks" in only:
        from vqaflow.bench_checks import check

        try:
            checks = check(bench)
        except Exception as error:  # as for a recipe
            traceback.print_exc()
            checks = {"error": f"{type(error).__name__}: {error}"}
    if "ours" in only:
        bench.ours(our_cases(bench))
    return checks


def our_cases(bench: Bench) -> list[tuple[str, int, int, bool, dict[str, Any]]]:
    """The cases of our loop."""
    batch, fill, eager = bench.batch, {"gradient_checkpointing": "auto"}, {"compile": False}
    return [
        ("ours, not compiled", batch, 1, True, eager),
        ("ours, not compiled", batch, 4, True, eager),
        ("ours", batch, 1, False, {}),
        ("ours", batch, 4, False, {}),
        ("ours", batch, 1, True, {}),
        ("ours", batch, 4, True, {}),
        ("ours", batch, 1, False, fill),
        ("ours", batch, 4, False, fill),
        ("ours", batch, 1, True, fill),
        ("ours", batch, 4, True, fill),
        ("ours", 4 * batch, 1, True, {}),
        ("ours", 4 * batch, 4, True, {}),
        ("ours, nothing recomputed", batch, 1, True, {"gradient_checkpointing": False}),
    ]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The goals' figures, each from the best row that may be counted for it."""
    seeds = [row for row in rows if row["recipe"].startswith("seed") and "s/row" in row]
    ours = [row for row in rows if row["recipe"].startswith("ours") and "s/row" in row and row["batch"] == 4]
    told: dict[str, float] = {}
    for vision in ("cached", "every step"):
        one, four = ([r for r in ours if r["orders"] == k and r["vision"] == vision] for k in (1, 4))
        label = "cached vision" if vision == "cached" else "tower in every step"
        if one and four:
            best_one, best_four = (min(group, key=lambda r: r["s/row"]) for group in (one, four))
            told[f"four orders over one, {label}"] = best_four["s/row"] / best_one["s/row"]
        for name, group in (("one order", one), ("four orders", four)):
            within = [r for r in group if r["peak GiB"] <= MEMORY_GOAL_GIB]
            if seeds and within:
                best = max(within, key=lambda r: r["row·orders/s"])
                slowest, fastest = (pick(r["row·orders/s"] for r in seeds) for pick in (min, max))
                told[f"{name}, {label}: rows x orders/s over the seed's recipe"] = best["row·orders/s"] / slowest
                told[f"{name}, {label}: over its decoder-only variant"] = best["row·orders/s"] / fastest
    errors = [abs(r["predicted"] / r["peak GiB"] - 1) for r in rows if r.get("predicted") and r.get("peak GiB")]
    if errors:
        told["largest error of the predicted peak"] = max(errors)
    return told
