"""A small world on disk for tests of training: a random base, a table with pictures, two folds."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import random_qwen
import rows
from vqaflow.runtime.artifact_store import Store
from vqaflow.training.rows import FoldRows
from vqaflow.training.settings import TrainingPlaces, TrainingSettings
from vqaflow.training.train_adapter import train_adapter

SMALL = {
    "epochs": 3,
    "batch_size": 4,
    "accumulation": 2,
    "learning_rate": 0.01,
    "choice_orders": 2,
    "checkpoint_minutes": 0,
    "keep": "best",
    "trackers": [],
}


def make_world(folder: Path, choices: int = 4, lacking: int = 0) -> Path:
    """A folder with a base checkpoint, a table of 40 rows with images, and two folds."""
    random_qwen.model().save_pretrained(folder / "base")
    random_qwen.processor().save_pretrained(folder / "base")
    table = rows.make_table(folder, 40, choices, lacking)
    table.to_parquet(folder / "train.parquet")
    folds = pd.DataFrame({"id": table["id"], "fold": [i % 2 for i in range(40)], "group": range(40)})
    folds.to_parquet(folder / "folds.parquet")
    return folder


def job(world: Path, name: str, **train: object) -> dict:
    """Settings of a training of fold 0, with outputs under `name`, for `training_arguments`."""
    config = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))
    model = vars(rows.model_config(base=str(world / "base"), max_pixels=56 * 56))
    return {
        "table": world / "train.parquet",
        "folds": world / "folds.parquet",
        "fold": 0,
        "model": model,
        "prompt": config["prompt"],
        "train": config["train"] | SMALL | train,
        "best": None,
        "histories": (),
        "out": world / name / "adapter",
        "work": world / name / "work" / "train" / "fold0",
        "store": Store(world / name / "store", 1),
        "bases": world / "bases",
        "vision": world / name / "work" / "vision",
        "tracking": world / name / "tracking",
    }


def training_arguments(**given: Any) -> dict[str, Any]:
    """The arguments of train_adapter from a job's settings."""
    return {
        "rows": FoldRows(given["table"], given["folds"], given["fold"]),
        "settings": TrainingSettings.of(*(given[key] for key in ("model", "prompt", "train", "best", "histories"))),
        "places": TrainingPlaces(*(given[key] for key in ("work", "bases", "vision", "tracking"))),
        "out": given["out"],
        "store": given["store"],
    }


def run(given: dict) -> Path:
    """Train in this process; returns the adapter folder."""
    train_adapter(**training_arguments(**given))
    return given["out"]
