"""An adapter is trained and scores rows of any number of choices, some of which lack a choice."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

import rows
import training_world
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
from vqaflow.scoring.selection import RowsToScore, Task


@pytest.mark.parametrize(
    ("choices", "lacking", "train"),
    [
        (5, 3, {"objective": "mixed", "choice_orders": 4}),
        (2, 0, {"choice_orders": 2}),
        (3, 1, {"choice_orders": 1, "augment": {"shuffle_choices": True, "paraphrase": False}}),
        (10, 2, {"choice_orders": 1}),
    ],
)
def test_rows_that_lack_choices_train_and_score(choices: int, lacking: int, train: dict, tmp_path: Path) -> None:
    """A NaN from an absent choice would end the training, or leave rows without scores."""
    world = training_world.make_world(tmp_path, choices, lacking)
    given = training_world.job(world, "a", epochs=2, **train)
    adapter = training_world.run(given)
    told = json.loads((adapter / "run.json").read_text(encoding="utf-8"))
    assert len(told["parity"]["letter_tokens"]) == choices
    assert all(np.isfinite(weight).all() for weight in load_file(adapter / "adapter_model.safetensors").values())
    losses = pd.read_csv(adapter / "log.csv")
    assert np.isfinite(losses["loss"]).all() and losses["val_accuracy"].between(0, 1).all()
    table = pd.read_parquet(world / "train.parquet").assign(flip_unsafe=False, usable=True)
    table.to_parquet(world / "train.parquet")
    model, prompt = section(ModelConfig, given["model"]), section(PromptConfig, given["prompt"])
    score_choices(
        task=Task("original", model, prompt, ViewConfig(), "cyclic"),
        rows=RowsToScore(world / "train.parquet", world / "folds.parquet", "0"),
        adapter=adapter,
        out=world / "scores.parquet",
        cost=world / "scores.json",
        places=ScoringPlaces(world / "score", world / "bases", world / "vision", 0),
        store=Store(world / "store", 1),
        batch_tokens=4096,
    )
    scores = pd.read_parquet(world / "scores.parquet").merge(table, on="id")
    letters = list("abcdefghij"[:choices])
    assert len(scores) == 20 * choices
    there = scores[letters].notna().to_numpy()
    logits = scores[[f"logit_{letter}" for letter in letters]].to_numpy()
    assert (np.isfinite(logits) == there).all() and np.isneginf(logits[~there]).all()


def test_more_choice_orders_than_there_are_end_the_training_with_a_message(tmp_path: Path) -> None:
    """Two choices have two orders: a third would show one of them twice as often."""
    world = training_world.make_world(tmp_path, 2)
    with pytest.raises(UserError, match="config train.choice_orders: 3: the tables' 2 choices have only 2 orders"):
        training_world.run(training_world.job(world, "a", choice_orders=3))


def test_the_prompts_own_letters_are_trained_and_told(tmp_path: Path) -> None:
    """An adapter that answers A must not be scored at the token of a."""
    world = training_world.make_world(tmp_path)
    letters = ["A", "B", "C", "D"]
    given = training_world.job(world, "a", epochs=1)
    given["prompt"] = asdict(rows.prompt_config()) | {"letters": letters}
    told = json.loads((training_world.run(given) / "run.json").read_text(encoding="utf-8"))
    assert told["prompt"]["letters"] == letters
    lower = json.loads(
        (training_world.run(training_world.job(world, "b", epochs=1)) / "run.json").read_text(encoding="utf-8")
    )
    assert lower["parity"]["letter_tokens"] != told["parity"]["letter_tokens"]
    assert lower["parity"]["prompt"] != told["parity"]["prompt"] and "letters" not in lower["prompt"]
