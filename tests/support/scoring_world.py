"""A small world on disk for tests of scoring: a random base, tables with pictures, folds, and a random adapter."""

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model

import random_qwen
import rows
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.config.sections import ModelConfig, section
from vqaflow.model.base import load_base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.parity import parity
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.versions import package_versions
from vqaflow.scoring.score_choices import ScoringPlaces
from vqaflow.scoring.selection import RowsToScore, Task

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def save_base(folder: Path, seed: int = 0) -> Path:
    """Save a random base with its processor as from_pretrained wants it."""
    network = random_qwen.model(seed)
    network.save_pretrained(folder)
    random_qwen.processor().save_pretrained(folder)
    return folder


def save_adapter(folder: Path, seed: int = 1, size: float = 0.3) -> Path:
    """Save a random LoRA adapter by PEFT; a `size` of 0 makes it change nothing."""
    network = random_qwen.model()
    torch.manual_seed(seed)
    targets = rf".*language_model.*\.({'|'.join(TARGETS)})"
    tuned = get_peft_model(network, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn_like(weight) * size)
    tuned.save_pretrained(folder)
    return folder


def save_run(folder: Path, model: dict[str, Any], choices: int = 4, held_out: Sequence[str] = ()) -> None:
    """Write the run.json that training on the base of the section `model` leaves beside an adapter."""
    settings, prompt = section(ModelConfig, model), rows.prompt_config()
    base = load_base(settings)
    told = parity(base, RowEncoder(base.processor, settings, prompt, choices=choices), settings, prompt)
    said = {"parity": told, "versions": package_versions(), "held_out": value_digest(sorted(held_out)), "train": {}}
    write_run(folder, said)


def make_table(folder: Path, count: int, **columns: Any) -> pd.DataFrame:
    """A checked table of `count` rows with pictures under `folder`; `columns` override whole columns."""
    folder.mkdir(parents=True, exist_ok=True)
    return rows.make_table(folder, count).assign(**({"flip_unsafe": False, "usable": True} | columns))


class ScoringWorld:
    """Base, adapter, table and folds in a folder, and `score` to run the stage on them."""

    def __init__(self, folder: Path, count: int = 10) -> None:
        self.folder = folder
        self.base, self.adapter = save_base(folder / "base"), save_adapter(folder / "adapter")
        self.model = {
            "base": str(self.base),
            "revision": None,
            "quantization": "none",
            "compute_dtype": "float32",
            "min_pixels": 56 * 56,
            "max_pixels": 140 * 140,
        }
        self.table = make_table(folder / "images", count)
        self.folds = pd.DataFrame(
            {"id": self.table["id"], "fold": [i % 2 for i in range(count)], "group": range(count)}
        )
        save_run(self.adapter, self.model, held_out=self.held_out)

    @property
    def held_out(self) -> list[str]:
        """The ids of fold 0, without which the adapter was trained."""
        return list(self.folds.loc[self.folds["fold"] == 0, "id"])

    def with_table(self, table: pd.DataFrame, folder: Path) -> "ScoringWorld":
        """The same base, adapter and folds with another table, written under `folder`."""
        other = copy(self)
        other.table, other.folder = table, folder
        return other

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """Arguments of score_choices for all rows in the original view, with `changes` of what `scoring` takes."""
        table, folds = self.folder / "table.parquet", self.folder / "folds.parquet"
        self.table.to_parquet(table, index=False)
        self.folds.to_parquet(folds, index=False)
        given = {
            "table": table,
            "folds": None,
            "part": "0",
            "margins_from": None,
            "trained_folds": folds,
            "name": "original",
            "view": {},
            "adapter": self.adapter,
            "model": self.model,
            "prompt": asdict(rows.prompt_config()),
            "orders": "cyclic",
            "out": self.folder / "out.parquet",
            "cost": self.folder / "out.json",
            "work": self.folder / "work",
            "bases": self.folder / "bases",
            "store": Store(self.folder / "store", 0),
            "vision": self.folder / "vision",
            "vision_gb": 0,
            "batch_tokens": 2048,
        }
        assert changes.keys() <= given.keys(), changes
        return scoring(**(given | changes))


def scoring(**given: Any) -> dict[str, Any]:
    """The arguments of score_choices from single settings."""
    return {
        "task": Task.of(*(given[key] for key in ("name", "model", "prompt", "view", "orders"))),
        "rows": RowsToScore(*(given[key] for key in ("table", "folds", "part", "margins_from", "trained_folds"))),
        "places": ScoringPlaces(*(given[key] for key in ("work", "bases", "vision", "vision_gb"))),
    } | {key: given[key] for key in ("adapter", "out", "cost", "store", "batch_tokens")}
