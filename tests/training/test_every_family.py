"""Each family is trained and scored by the same two stages, from its files to its logits."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import PeftModel

import random_families
import random_others
import training_world
from vqaflow.artifacts.rows import rows_of
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.model.base import load_base
from vqaflow.model.decoder.branches import letter_logits
from vqaflow.model.pipeline.parts import make_decoder, make_encoder, make_features
from vqaflow.runtime.artifact_store import Store
from vqaflow.scoring.score_choices import ScoringPlaces, score_choices
from vqaflow.scoring.selection import RowsToScore, Task

MAKERS = {name: random_families for name in ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")}
MAKERS |= {name: random_others for name in random_others.NAMES}
ORDERS = ["abcd", "bcda", "cdab", "dabc"]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Tables and folds; tests save the base."""
    made = training_world.make_world(tmp_path)
    table = pd.read_parquet(made / "train.parquet").assign(flip_unsafe=False, usable=True)
    table.to_parquet(made / "train.parquet")
    return made


def peft_logits(world: Path, model: ModelConfig, prompt: PromptConfig, adapter: Path) -> torch.Tensor:
    """Logits (B, K, 4) of the held-out rows, as shown, with the adapter loaded by plain PEFT."""
    base = load_base(model)
    encoder = make_encoder(base, model, prompt)
    base.model = PeftModel.from_pretrained(base.network, str(adapter)).eval()
    table = pd.read_parquet(world / "train.parquet")
    folds = pd.read_parquet(world / "folds.parquet")
    held_out = rows_of(table[table["id"].isin(folds.loc[folds["fold"] == 0, "id"])])[:4]
    items = [(row, encoder.encode(row, ORDERS, ViewConfig())) for row in held_out]
    features = make_features(base, encoder, ViewConfig(), "off", world / "vision").of(items)
    with torch.no_grad():
        states = make_decoder(base, False).states([encoded for _, encoded in items], features)
        return letter_logits(states, base.letter_rows(encoder.letter_ids), base.softcap)


@pytest.mark.parametrize("name", MAKERS)
def test_a_family_is_trained_and_scored(name: str, world: Path) -> None:
    """What training saved is what scoring uses, and the loss falls."""
    MAKERS[name].save(name, world / "base")
    given = training_world.job(world, "a", cache_vision="memory")
    given["model"] |= {"max_pixels": 64 * 64, "min_pixels": 32 * 32}
    adapter = training_world.run(given)
    losses = pd.read_csv(adapter / "log.csv")["loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    model, prompt = section(ModelConfig, given["model"]), section(PromptConfig, given["prompt"])
    task = Task("original", model, prompt, ViewConfig(), "cyclic")
    score_choices(
        task=task,
        rows=RowsToScore(world / "train.parquet", world / "folds.parquet", "0"),
        adapter=adapter,
        out=world / "scores.parquet",
        cost=world / "scores.json",
        places=ScoringPlaces(world / "work" / "score", world / "bases", world / "vision", 0),
        store=Store(world / "store", 1),
        batch_tokens=4096,
    )
    scores = pd.read_parquet(world / "scores.parquet")
    assert len(scores) == 20 * len(ORDERS)
    shown_BK4 = peft_logits(world, model, prompt, adapter)
    ours = torch.tensor(scores.filter(like="logit_").to_numpy()[: 4 * len(ORDERS)]).view(4, len(ORDERS), 4)
    undo = torch.tensor([[order.index(letter) for letter in "abcd"] for order in ORDERS])
    torch.testing.assert_close(ours, shown_BK4.gather(2, undo.expand(4, -1, -1)), atol=1e-3, rtol=1e-3)
