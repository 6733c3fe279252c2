"""`train.view`: training shows rows as scoring's main view does, and says so beside the adapter."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rows
import training_world
from vqaflow.config.sections import ViewConfig
from vqaflow.model.features.cache import FeatureCache
from vqaflow.training.loop import Trainer
from vqaflow.training.train_adapter import train_adapter


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """One base, table and folds for the module."""
    return training_world.make_world(tmp_path_factory.mktemp("world"))


def trained(world: Path, name: str, view: ViewConfig) -> tuple[dict[str, Any], bytes]:
    """The run.json and the weights of a training in `view`."""
    given = training_world.training_arguments(**training_world.job(world, name, epochs=1))
    given["settings"] = replace(given["settings"], view=view)
    train_adapter(**given)
    return json.loads((given["out"] / "run.json").read_text()), (
        given["out"] / "adapter_model.safetensors"
    ).read_bytes()


def test_a_view_is_what_training_renders(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that is trained on whole images and scored on tiles meets prompts that it has never seen."""
    shown: list[int] = []
    transcripts: list[str | None] = []
    of, init = FeatureCache.of, Trainer.__init__
    monkeypatch.setattr(
        FeatureCache, "of", lambda self, items: shown.extend(len(e.grids) for _, e in items) or of(self, items)
    )

    def watched(self, base, encoder, features, some, *more, **options):
        transcripts.extend(row.transcript for row in some)
        init(self, base, encoder, features, some, *more, **options)

    monkeypatch.setattr(Trainer, "__init__", watched)
    plain, plain_weights = trained(world, "plain", ViewConfig())
    assert set(shown) == {1} and set(transcripts) == {None} and "view" not in plain
    shown.clear()
    transcripts.clear()
    run, weights = trained(world, "tiles", ViewConfig(tiles="2x2", read=True, read_tokens=4))
    assert set(shown) == {5} and transcripts and None not in transcripts
    assert run["view"] == {"flip": False, "pixels": [None, None], "tiles": "2x2", "overlap": 0.1, "read": 4}
    assert weights != plain_weights and run["key"] != plain["key"]
    assert run["plan"]["tokens_a_row"]["visual"] > 4 * plain["plan"]["tokens_a_row"]["visual"]
    assert "read" in run["prompt"] and "read" not in plain["prompt"]
    assert run["parity"]["prompt"] == plain["parity"]["prompt"], "the prompt of choices is the same"


def test_a_named_view_that_shows_the_image_as_it_is_trains_the_same(world: Path) -> None:
    """A store's adapters must stay valid when the view of a training gets a name or a condition."""
    first, weights = trained(world, "first", ViewConfig())
    second, again = trained(world, "second", ViewConfig(when="margin < 0.3"))
    assert (first["key"], weights) == (second["key"], again)
    assert rows.VIEW == ViewConfig()
