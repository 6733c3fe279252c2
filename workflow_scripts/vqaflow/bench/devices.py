"""`vqaflow bench train --devices N`: steps of our loop on one device, and shared by N, on a random model.

The rows of a step are the same for both, so that their losses can be compared: they differ by rounding only.
"""

import gc
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vqaflow.bench.made_rows import SMALL_VISUAL, VISUAL, MadeEncoder, MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.bench.repeated import run_times
from vqaflow.bench.tools import machine, table, write_results
from vqaflow.bench.training_bench import precision_of, train_config
from vqaflow.model.base import best_device
from vqaflow.model.encoding.orders import first_orders
from vqaflow.model.lora import add_adapter
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.timing import peak_gib, reset_peak
from vqaflow.training.loop import Trainer
from vqaflow.training.placement import make_deterministic, place
from vqaflow.training.ranks import Ranks, ranks_of

ACCUMULATIONS = (1, 4)  # passes of a step on one device
ORDERS = (1, 4)
WARM_STEPS, STEPS = 2, 6
RATE = 1e-4
COLUMNS = ["devices", "rows a step", "orders", "s/row", "rows/s", "rows/s of one", "peak GiB", "loss differs by"]


@dataclass(frozen=True)
class Steps:
    """Steps of `accumulation` passes of `batch` rows; `ranks_of` sends it to the other processes."""

    shape: str
    quantization: str | None
    visual: int | None
    batch: int
    cases: tuple[tuple[int, int], ...]

    def train(self, ranks: Ranks) -> list[dict[str, Any]]:
        """For each case (accumulation, orders): seconds of a step, peak memory and the losses."""
        make_deterministic()
        device = best_device()
        dtype, quantization = precision_of(self.shape, device, self.quantization)
        config = PUBLISHED[self.shape]
        made = MadeRows(config, self.visual or (SMALL_VISUAL if self.shape == "tiny" else VISUAL))
        found = []
        for accumulation, orders in self.cases:
            gc.collect()
            reset_peak(device)
            settings = {"batch_size": self.batch, "accumulation": accumulation, "choice_orders": orders}
            train = train_config(learning_rate=RATE, warmup_ratio=0.0, epochs=WARM_STEPS + STEPS, **settings)
            base = build(config, device, quantization, dtype)
            add_adapter(base, train.lora, train.seed)
            place(base, train, tower=False)
            rows = made.rows(self.batch * accumulation)
            features = MadeFeatures(base, made, cached=True)
            trainer = Trainer(base, MadeEncoder(made), features, rows, [], train, ranks=ranks)
            ranks.copy_first(trainer.weights)
            drawn, losses = [(row, first_orders(row.letters, orders)) for row in rows], []
            for number in range(WARM_STEPS + STEPS):
                if number == WARM_STEPS:
                    ranks.sums(0)
                    began = time.monotonic()
                trainer.step(drawn)  # ends with the ranks' summed loss: none is ahead of the others
                losses.append(trainer.progress.loss_sum / trainer.progress.answers)
            seconds = (time.monotonic() - began) / STEPS
            found.append({"seconds": seconds, "peak GiB": peak_gib(device), "losses": losses})
            del base, trainer, features
        return found


def bench_devices(
    shape: str,
    batch: int,
    devices: int,
    out: Path | None,
    quantization: str | None = None,
    visual: int | None = None,
    runs: int = 1,
) -> None:
    """Measure `runs` times, print the table, and write all figures to `out`."""
    cases = tuple((accumulation, orders) for accumulation in ACCUMULATIONS for orders in ORDERS)
    steps = Steps(shape, quantization, visual, batch, cases)
    rows = run_times(runs, lambda: compared(steps, devices))
    print(table(rows, COLUMNS))
    device = best_device()
    dtype, kind = precision_of(shape, device, quantization)
    about = {"machine": machine(device), "shape": shape, "dtype": str(dtype).removeprefix("torch."), "base": kind}
    about["nvlink"] = torch.cuda.is_available() and torch.cuda.can_device_access_peer(0, 1)
    write_results(out, about | {"runs": runs, "rows": rows})


def compared(steps: Steps, devices: int) -> list[dict[str, Any]]:
    """The rows of one run: each case on one device, and shared by all."""
    alone = steps.train(Ranks())
    with tempfile.TemporaryDirectory() as work, ranks_of(devices, steps, Path(work)) as ranks:
        shared = steps.train(ranks)
    rows = []
    for (accumulation, orders), one, several in zip(steps.cases, alone, shared, strict=True):
        count = steps.batch * accumulation
        for number, made in ((1, one), (devices, several)):
            row = {"devices": number, "rows a step": count, "orders": orders, "s/row": made["seconds"] / count}
            row |= {"rows/s": count / made["seconds"], "rows/s of one": one["seconds"] / made["seconds"]}
            differs = max(abs(a - b) for a, b in zip(one["losses"], made["losses"], strict=True))
            rows.append(row | {"peak GiB": made["peak GiB"], "loss differs by": differs, "losses": made["losses"]})
    return rows
