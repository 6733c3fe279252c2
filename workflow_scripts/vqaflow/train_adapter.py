"""Rule train_adapter: one fold's LoRA adapter, trained on what it will be scored on: the logits of the four letters.

`python -m vqaflow.train_adapter --help` runs it by hand.
"""

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from vqaflow.artifacts import damaged, read_table, require_file
from vqaflow.base_files import RUN
from vqaflow.base_model import Base
from vqaflow.checkpoints import stop_on_signals
from vqaflow.code_digest import module_digest
from vqaflow.config import (
    LETTERS,
    ModelConfig,
    PromptConfig,
    TrainConfig,
    ViewConfig,
    checked_config,
    replace_keys,
    section,
)
from vqaflow.encoding import RowEncoder
from vqaflow.errors import UserError
from vqaflow.feature_cache import FeatureCache
from vqaflow.figures import label_axes, new_figure, save
from vqaflow.files import value_digest, write_json
from vqaflow.footprint import GIB
from vqaflow.gpu_lease import lease_gpu
from vqaflow.lora import add_adapter
from vqaflow.orders import IDENTITY
from vqaflow.parity import base_digest, decisive_versions, package_versions, parity
from vqaflow.progress import log, stage
from vqaflow.store import Store, cached
from vqaflow.store_base import open_base
from vqaflow.trackers import Tracker, require_installed, start_trackers
from vqaflow.training_loop import Trainer
from vqaflow.training_plan import log_plan, plan_training, settings_of

ROW_FIELDS = ["id", "question", *LETTERS, "answer", "qtype", "sha256", "width", "height"]
VIEW = ViewConfig()
# Keys of `train` that leave the adapter as it is: a checkpoint stays good when they change.
WITHOUT_EFFECT = ("checkpoint_minutes", "max_minutes", "trackers")


def train_adapter(
    *,
    table: Path,
    folds: Path,
    fold: int,
    model: Mapping[str, Any],
    prompt: Mapping[str, Any],
    train: Mapping[str, Any],
    best: Path | None,
    out: Path,
    work: Path,
    store: Mapping[str, Any],
    bases: Path,
    tracking: Path,
) -> None:
    """Train on all rows outside `fold` and write the adapter folder `out`; `work` keeps plan and checkpoints meanwhile.

    `bases` keeps quantised bases for later jobs, `tracking` what `train.trackers` write.

    `best`, if given, is a YAML file whose `parameters` replace keys of `train` (dotted keys reach into `train.lora`).
    """
    settings = section(TrainConfig, with_best(train, best))
    models, prompts = section(ModelConfig, model), section(PromptConfig, prompt)
    require_installed(settings.trackers)
    inside, outside = split_rows(table, folds, fold)
    parts = {
        "stage": "train_adapter",
        "code": module_digest("train_adapter"),
        "base": base_digest(models),
        "model": asdict(models) | {"base": None},
        "prompt": asdict(prompts),
        "train": {key: value for key, value in asdict(settings).items() if key not in WITHOUT_EFFECT},
        "rows": value_digest([[[str(row[key]) for key in ROW_FIELDS] for row in rows] for rows in (outside, inside)]),
        "versions": decisive_versions(),
    }
    job = Job(work, value_digest(parts), models, prompts, settings, outside, inside, bases, tracking)
    cached(Store(Path(store["path"]), store["gb"]), parts, out, job.run)
    shutil.rmtree(work, ignore_errors=True)


def with_best(train: Mapping[str, Any], best: Path | None) -> dict[str, Any]:
    """`train` with the parameters of a search in place. Raises UserError unless `best` has some."""
    return replace_keys(train, read_parameters(best) if best else {})


def read_parameters(best: Path) -> dict[str, Any]:
    """The parameters of the best trial of a search. Raises UserError if the file is missing, damaged or without."""
    require_file(best, "search_hyperparameters")
    try:
        found = yaml.safe_load(best.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(best, "search_hyperparameters", error) from None
    if not isinstance(found, dict) or not isinstance(found.get("parameters"), dict):
        raise damaged(best, "search_hyperparameters", ValueError("it has no parameters"))
    return found["parameters"]


def split_rows(table: Path, folds: Path, fold: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of `fold` (held out) and all others, as records.

    Raises UserError if a file is missing or damaged, or if there is no such fold.
    """
    assigned = read_table(folds, "make_folds", ["id", "fold"])
    rows = read_table(table, "validate_tables").merge(assigned, on="id", validate="1:1")
    if fold not in set(rows["fold"]):
        raise UserError(f"{folds}: there is no fold {fold}. It has folds 0 to {rows['fold'].max()}.")
    held_out = rows["fold"] == fold
    return rows[held_out].to_dict("records"), rows[~held_out].to_dict("records")


@dataclass(frozen=True)
class Job:
    """One training; `key` says what it depends on."""

    work: Path
    key: str
    model: ModelConfig
    prompt: PromptConfig
    train: TrainConfig
    rows: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    bases: Path
    tracking: Path

    def run(self, out: Path) -> None:
        """Train, and write the adapter and what tells about it to `out`."""
        began, train = time.monotonic(), self.train
        make_deterministic()
        base = open_base(self.model, self.bases)
        encoder = RowEncoder(base.processor, self.model, self.prompt)
        add_adapter(base, train.lora, train.seed)
        set_checkpointing(base, train)
        plan, settings = plan_training(base, encoder, train, self.rows), settings_of(base, self.model, train)
        log_plan(plan, settings)
        told = settings | {"plan": plan.told()} | self.inputs(base, encoder)
        write_json(self.work / RUN, told)
        trainer = Trainer(base, encoder, self.features(base, encoder), self.rows, self.validation, train)
        if train.gradient_checkpointing == "auto":
            trainer.model.keep(plan.footprint.kept_layers)
        self.follow(trainer, settings, began)
        require_effect(base, trainer, self.validation[:4])
        save_adapter(base, self.model, out)
        history = pd.DataFrame(trainer.progress.history)
        history.to_csv(out / "log.csv", index=False, lineterminator="\n")
        draw_curve(history, out / "curve.png")
        write_json(out / RUN, told | outcome(trainer, time.monotonic() - began))

    def inputs(self, base: Base, encoder: RowEncoder) -> dict[str, Any]:
        """What the adapter is made of, for run.json."""
        return {
            "parity": parity(base, encoder, self.model, self.prompt),
            "versions": package_versions(),
            "train": asdict(self.train),
            "model": asdict(self.model),
            "prompt": asdict(self.prompt),
            "key": self.key,
            "data": value_digest([[str(row[key]) for key in ROW_FIELDS] for row in self.rows]),
            "held_out": value_digest(sorted(row["id"] for row in self.validation)),
            "rows": len(self.rows),
            "validation_rows": len(self.validation),
        }

    def features(self, base: Base, encoder: RowEncoder) -> FeatureCache:
        """The images' features; kept ones are all made now, so that the tower can leave the GPU."""
        train, folder = self.train, self.work.parent.parent / "vision"
        features = FeatureCache(base, encoder, VIEW, train.cache_vision, folder)
        place(base, train, tower=True)
        if train.cache_vision != "off":
            rows = [*self.rows, *self.validation]
            features.fill([(row, encoder.encode(row, [IDENTITY], VIEW)) for row in rows])
            base.leave_gpu(base.visual)
        return features

    def checkpoint_key(self, base: Base) -> str:
        """What a checkpoint is good for: this training, in the precision of this machine, which `auto` may decide."""
        return value_digest([self.key, base.device.type, str(base.dtype), base.quantization])

    def follow(self, trainer: Trainer, settings: Mapping[str, Any], began: float) -> None:
        """Run the training of a job that `began` at that time.monotonic, its figures going to the trackers."""
        key = self.checkpoint_key(trainer.base)
        first = trainer.restore(self.work, key)
        told = {**asdict(self.train), "base": self.model.base, "device": settings["device"]}
        started = start_trackers(self.train.trackers, self.tracking, key, told, first)
        trackers = dict(zip(self.train.trackers, started, strict=True))

        def follow(record: dict[str, float]) -> None:
            figures = {name: value for name, value in record.items() if name != "step"}
            for name in list(trackers):
                with dropped_if_failing(trackers, name) as tracker:
                    tracker.log(figures, int(record["step"]))

        trainer.on_step = trainer.on_validation = follow
        try:
            with stop_on_signals() as stop:
                trainer.run(self.work, key, stop, began=began)
        finally:
            for name in list(trackers):
                with dropped_if_failing(trackers, name) as tracker:
                    tracker.close()


@contextmanager
def dropped_if_failing(trackers: dict[str, Tracker], name: str) -> Iterator[Tracker]:
    """Take a tracker that fails out of `trackers`, with a warning: its curves are worth less than the training."""
    try:
        yield trackers[name]
    except Exception as error:  # of packages, servers and disks of any kind
        del trackers[name]
        log.warning(
            "train.trackers: %s failed and gets no more figures; the training goes on (%s: %s). Check its login, its "
            "server and the disk, or take it out of train.trackers; log.csv has the figures of each validation.",
            name,
            type(error).__name__,
            error,
        )


def save_adapter(base: Base, model: ModelConfig, out: Path) -> None:
    """Write the adapter as PEFT does; its base is named as in the configuration, not by a folder of this machine."""
    settings = base.model.peft_config["default"]
    settings.base_model_name_or_path, settings.revision = model.base, model.revision
    base.model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card


def outcome(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """What came of a training, for run.json."""
    on_gpu, state = trainer.base.device.type == "cuda", trainer.progress
    return {
        "seconds": round(seconds, 1),
        "steps_done": state.step,
        "best_val_accuracy": state.best_accuracy if trainer.validation else None,
        "rows_a_pass": state.micro_rows,
        "measured_peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2) if on_gpu else None,
    }


def make_deterministic() -> None:
    """Equal inputs give equal adapters: bit for bit on the CPU; on a GPU as far as its kernels allow."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)  # warnings alone would leave attention's backward pass as it is
    torch.utils.deterministic.fill_uninitialized_memory = False  # all memory is written before it is read
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def place(base: Base, train: TrainConfig, tower: bool) -> None:
    """Keep on the GPU what the steps need: no embedding table, no head for `choice`, the tower only if `tower`."""
    head = train.objective != "choice"
    needed = [
        (base.language_model.embed_tokens, head and base.qwen.config.tie_word_embeddings),
        (base.qwen.lm_head, head),
        (base.visual, tower),
    ]
    base.leave_gpu(*(module for module, is_needed in needed if not is_needed))
    base.join_gpu(*(module for module, is_needed in needed if is_needed))


def set_checkpointing(base: Base, train: TrainConfig) -> None:
    """Recompute activations in the backward pass where memory is short (on GPUs, by default)."""
    if train.lora.dropout == 0:
        return  # the fused decoder recomputes by itself
    wanted = base.device.type == "cuda" if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
    if wanted:
        base.qwen.gradient_checkpointing_enable({"use_reentrant": False})


@torch.no_grad()
def require_effect(base: Base, trainer: Trainer, rows: list[dict[str, Any]]) -> None:
    """Raise UserError if the adapter leaves every logit as it was: then nothing was trained."""
    base.model.eval()
    orders = [["abcd"]] * len(rows)
    with_adapter = trainer.model.library_states(rows, orders)
    with base.model.disable_adapter():
        without = trainer.model.library_states(rows, orders)
    if torch.equal(with_adapter, without):
        raise UserError("train_adapter: the adapter changes no logit. Raise train.learning_rate or train.epochs.")


def draw_curve(history: pd.DataFrame, path: Path) -> None:
    """Loss and accuracies over the epochs."""
    figure, (left, right) = new_figure("Training", 1, 2, (9, 3.8))
    left.plot(history["epoch"], history["loss"], marker="o")
    label_axes(left, "epoch", "training loss")
    right.plot(history["epoch"], history["accuracy"], marker="o", label="training rows")
    if "val_accuracy" in history:
        right.plot(history["epoch"], history["val_accuracy"], marker="o", label="held-out rows")
    label_axes(right, "epoch", "accuracy")
    right.legend()
    save(figure, path)


def main() -> None:
    """Run the stage by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.train_adapter", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--fold", type=int, required=True)
    parser.add_argument("--best", type=Path, help="best.yaml of a hyper-parameter search")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of tables and folds")
    arguments = parser.parse_args()
    results = arguments.results
    with stage(None):
        config = checked_config(*arguments.config)
        lease_gpu()  # torch is imported, but has not asked for a GPU yet
        train_adapter(
            table=results / "tables" / "train.parquet",
            folds=results / "folds.parquet",
            fold=arguments.fold,
            model=config["model"],
            prompt=config["prompt"],
            train=config["train"],
            best=arguments.best,
            out=results / "adapters" / f"fold{arguments.fold}",
            work=results / "work" / "train" / f"fold{arguments.fold}",
            store={"path": config["hardware"]["store"], "gb": config["hardware"]["store_gb"]},
            bases=results / "base",
            tracking=results / "tracking" / f"fold{arguments.fold}",
        )


if __name__ == "__main__":
    main()
