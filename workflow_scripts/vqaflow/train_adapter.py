"""Rule train_adapter: one fold's LoRA adapter, trained on what it will be scored on: the logits of the four letters.

`python -m vqaflow.train_adapter --help` runs it by hand.
"""

import argparse
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from vqaflow.base_model import Base, load_base
from vqaflow.checkpoints import stop_on_signals
from vqaflow.code_digest import module_digest
from vqaflow.config import (
    LETTERS,
    ModelConfig,
    PromptConfig,
    TrainConfig,
    ViewConfig,
    load_config,
    replace_keys,
    section,
)
from vqaflow.encoding import RowEncoder
from vqaflow.errors import UserError
from vqaflow.feature_cache import FeatureCache
from vqaflow.figures import label_axes, new_figure, save
from vqaflow.files import value_digest, write_json
from vqaflow.lora import add_adapter, target_pattern, trainable
from vqaflow.parity import base_digest, package_versions, parity
from vqaflow.progress import log, stage
from vqaflow.store import Store, cached
from vqaflow.training_loop import Trainer

ROW_FIELDS = ["id", "question", *LETTERS, "answer", "qtype", "sha256", "width", "height"]
VIEW = ViewConfig()


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
) -> None:
    """Train on all rows outside `fold` and write the adapter folder `out`; `work` keeps checkpoints meanwhile.

    `best`, if given, is a YAML file whose `parameters` replace keys of `train` (dotted keys reach into `train.lora`).
    """
    settings = section(TrainConfig, with_best(train, best))
    models, prompts = section(ModelConfig, model), section(PromptConfig, prompt)
    inside, outside = split_rows(table, folds, fold)
    parts = {
        "stage": "train_adapter",
        "code": module_digest("train_adapter"),
        "base": base_digest(models),
        "model": asdict(models) | {"base": None},
        "prompt": asdict(prompts),
        "train": asdict(settings),
        "rows": value_digest([[[str(row[key]) for key in ROW_FIELDS] for row in rows] for rows in (outside, inside)]),
    }
    cached(
        Store(Path(store["path"]), store["gb"]),
        parts,
        out,
        lambda partial: _train(partial, work, value_digest(parts), models, prompts, settings, outside, inside),
    )
    shutil.rmtree(work, ignore_errors=True)


def with_best(train: Mapping[str, Any], best: Path | None) -> dict[str, Any]:
    """`train` with the parameters of a search in place."""
    return replace_keys(train, yaml.safe_load(best.read_text(encoding="utf-8"))["parameters"] if best else {})


def split_rows(table: Path, folds: Path, fold: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of `fold` (held out) and all others, as records."""
    rows = pd.read_parquet(table).merge(pd.read_parquet(folds, columns=["id", "fold"]), on="id", validate="1:1")
    if fold not in set(rows["fold"]):
        raise UserError(f"{folds}: there is no fold {fold}. It has folds 0 to {rows['fold'].max()}.")
    held_out = rows["fold"] == fold
    return rows[held_out].to_dict("records"), rows[~held_out].to_dict("records")


def _train(
    out: Path,
    work: Path,
    key: str,
    model: ModelConfig,
    prompt: PromptConfig,
    train: TrainConfig,
    rows: list[dict[str, Any]],
    validation: list[dict[str, Any]],
) -> None:
    began = time.monotonic()
    make_deterministic()
    base = load_base(model)
    encoder = RowEncoder(base.processor, model, prompt)
    add_adapter(base, train.lora, train.seed)
    set_checkpointing(base, train)
    features = FeatureCache(base, encoder, VIEW, train.cache_vision, work.parent.parent / "vision")
    log.info("training on %d rows, %d held out; %s", len(rows), len(validation), describe(base, train))
    with stop_on_signals() as stop:
        trainer = Trainer(base, encoder, features, rows, validation, train)
        trainer.run(work, key, stop)
    require_effect(base, trainer, validation[:4])
    base.model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    history = pd.DataFrame(trainer.progress.history)
    history.to_csv(out / "log.csv", index=False, lineterminator="\n")
    draw_curve(history, out / "curve.png")
    write_json(
        out / "run.json",
        {
            "parity": parity(base, encoder, model, prompt),
            "versions": package_versions(),
            "device": str(base.device),
            "dtype": str(base.dtype).removeprefix("torch."),
            "quantization": base.quantization,
            "train": asdict(train),
            "model": asdict(model),
            "key": key,
            "trainable": {"pattern": target_pattern(train.lora), "parameters": sum(p.numel() for p in trainable(base))},
            "rows": len(rows),
            "validation_rows": len(validation),
            "held_out": value_digest(sorted(row["id"] for row in validation)),
            "seconds": round(time.monotonic() - began, 1),
        },
    )


def make_deterministic() -> None:
    """Equal inputs give equal adapters: bit for bit on the CPU; on a GPU as far as its kernels allow."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)  # warnings alone would leave attention's backward pass as it is
    torch.utils.deterministic.fill_uninitialized_memory = False  # all memory is written before it is read
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def place(base: Base, train: TrainConfig, tower: bool) -> None:
    """Keep on the GPU what the steps need: no embedding table, no head for `choice`, the tower only if `tower`."""
    needs_head = train.objective != "choice"
    idle = [] if needs_head and base.qwen.config.tie_word_embeddings else [base.language_model.embed_tokens]
    base.leave_gpu(*idle, *([] if needs_head else [base.qwen.lm_head]), *([] if tower else [base.visual]))


def set_checkpointing(base: Base, train: TrainConfig) -> None:
    """Recompute activations in the backward pass where memory is short (on GPUs, by default)."""
    if train.lora.dropout == 0:
        return  # the fused decoder recomputes by itself
    wanted = base.device.type == "cuda" if train.gradient_checkpointing == "auto" else train.gradient_checkpointing
    if wanted:
        base.qwen.gradient_checkpointing_enable({"use_reentrant": False})


def describe(base: Base, train: TrainConfig) -> str:
    """One line on what is trained in which precision."""
    count = sum(weight.numel() for weight in trainable(base))
    dtype = str(base.dtype).removeprefix("torch.")
    return f"{count:,} trainable parameters, {dtype}, quantisation {base.quantization}, {train.choice_orders} order(s)"


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
    config, results = load_config(*arguments.config), arguments.results
    with stage(None):
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
        )


if __name__ == "__main__":
    main()
