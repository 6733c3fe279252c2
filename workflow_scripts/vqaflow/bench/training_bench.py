"""The measurement of one training step: settings, model and rows."""

import gc
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from vqaflow.bench.made_rows import SMALL_VISUAL, VISUAL, MadeEncoder, MadeFeatures, MadeRows
from vqaflow.bench.random_base import build
from vqaflow.bench.tools import table
from vqaflow.config.sections import AugmentConfig, LoraConfig, TrainConfig
from vqaflow.model.encoding.orders import first_orders
from vqaflow.model.lora import add_adapter
from vqaflow.model.numerics.cublas import settle_workspace
from vqaflow.plan.footprint import GIB, Footprint, usable_gib
from vqaflow.plan.published import PUBLISHED
from vqaflow.plan.timing import matmul_ceiling, measure, reset_peak
from vqaflow.plan.training_plan import KEPT_SHARE
from vqaflow.training.loop import Trainer
from vqaflow.training.placement import make_deterministic, place

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SHOWN_COLUMNS = [
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
IN_FLOAT16 = ("7b", "3b", "tiny")  # measured as they run on a T4: float16, NF4; the others in bfloat16, unquantised
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


def precision_of(shape: str, device: torch.device, quantization: str | None) -> tuple[torch.dtype, str]:
    """The dtype and quantisation in which a published model is measured; on a CPU float32, unquantised."""
    if device.type != "cuda":
        return torch.float32, "none"
    if shape in IN_FLOAT16 and quantization != "fp8":
        return torch.float16, quantization or "nf4"
    return torch.bfloat16, quantization or "none"


class TrainingBench:
    """Measures recipes on one machine and collects the table's rows."""

    def __init__(
        self, shape: str, device: torch.device, batch: int, quantization: str | None = None, visual: int | None = None
    ) -> None:
        self.name, self.config, self.device, self.batch = shape, PUBLISHED[shape], device, batch
        self.dtype, self.quantization = precision_of(shape, device, quantization)
        self.made = MadeRows(self.config, visual or (SMALL_VISUAL if shape == "tiny" else VISUAL))
        self.shape = self.made.shape
        self.results: list[dict[str, Any]] = []
        self.ceiling = matmul_ceiling(device, self.dtype)
        settle_workspace(device)  # other recipes do not have the setting: it would slow them down

    @property
    def memory_goal_gib(self) -> float:
        """GiB that a step may take where it keeps as much as fits: of a T4, or what the device has."""
        if self.device.type != "cuda" or self.name in IN_FLOAT16:
            return MEMORY_GOAL_GIB
        return KEPT_SHARE * usable_gib(torch.cuda.get_device_properties(self.device).total_memory / GIB)

    def add(self, recipe: str, batch: int, orders: int, cached: bool, run: Callable[[], tuple[Any, ...]]) -> None:
        """Run one recipe and keep its row; an error is a row too, so that the others are still measured.

        `run` gives seconds of a step, peak GiB, and maybe a dictionary of more that belongs into the row.
        """
        row: dict[str, Any] = {
            "recipe": recipe,
            "batch": batch,
            "orders": orders,
            "vision": "cached" if cached else "every step",
        }
        self._free()
        try:
            seconds, peak, *more = run()
            row |= {"s/row": seconds / batch, "rows/s": batch / seconds, "row·orders/s": batch * orders / seconds}
            row |= {"peak GiB": peak, "of ceiling": self.work(batch, orders, cached) / seconds / self.ceiling}
            row |= more[0] if more else {}
        except Exception as error:  # the other recipes are still measured if a library cannot run here
            traceback.print_exc()
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.results.append(row)
        print(table([row], SHOWN_COLUMNS).splitlines()[-1], row.get("error", ""), flush=True)
        self._free()

    def _free(self) -> None:
        """Free what nothing uses, so that it is not counted in the next row's memory."""
        gc.collect()
        reset_peak(self.device)

    def work(self, batch: int, orders: int, cached: bool) -> float:
        """Operations of a step with checkpointing as the field counts it: three passes, and one of the tower."""
        decoder = 3 * 2 * self.shape.products * self.made.tokens(orders) * batch
        tower = 2 * self.shape.tower_weights * self.made.patches * batch
        return decoder if cached else decoder + tower

    def ours(self, cases: Sequence[tuple[str, int, int, bool, dict[str, Any]]]) -> None:
        """Measure cases (name, batch, orders, cached vision, changed settings) of our loop on one loaded base.

        Beside settings, `limit_gib` says what a step that keeps products may take.
        """
        make_deterministic()
        for name, batch, orders, cached, changes in cases:
            limit = changes.get("limit_gib", self.memory_goal_gib)
            changes = {key: value for key, value in changes.items() if key != "limit_gib"}
            train = train_config(batch_size=batch, choice_orders=orders, **changes)
            keep = Footprint.kept_layers
            footprint = self.footprint(train, batch, orders, cached)
            if train.gradient_checkpointing == "auto":
                footprint = footprint.keeping(limit)
                keep = footprint.kept_layers
                name = f"{name}, {keep} layers keep products"
            if train.gradient_checkpointing is False:
                footprint = replace(footprint, kept_layers=len(self.shape.layers))
                keep = len(self.shape.layers)
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
            visual=batch * self.made.visual,
        )

    def trainer(self, train: TrainConfig, orders: int, cached: bool, kept: int) -> tuple[Trainer, list[Any]]:
        """Our loop on a fresh base, and the rows of a step."""
        base = build(self.config, self.device, self.quantization, self.dtype)
        add_adapter(base, train.lora, train.seed)
        features = MadeFeatures(base, self.made, cached)
        place(base, train, tower=not cached)
        rows = self.made.rows(train.batch_size)
        trainer = Trainer(base, MadeEncoder(self.made), features, rows, [], train)
        trainer.model.keep(kept)
        return trainer, [(row, first_orders(row.letters, orders)) for row in rows]

    def _our_step(self, train: TrainConfig, orders: int, cached: bool, kept: int) -> tuple[float, float]:
        trainer, drawn = self.trainer(train, orders, cached, kept)
        return measure(lambda: trainer.step(drawn), self.device, REPEATS[self.device.type])
