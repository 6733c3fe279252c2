"""Scores are of this adapter and of these pictures: whatever took the place of either is refused, and never stored."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import scoring_world
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.score_choices import score_choices


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> scoring_world.ScoringWorld:
    return scoring_world.ScoringWorld(tmp_path_factory.mktemp("world"), count=4)


@pytest.fixture
def adapter(world, tmp_path) -> Path:
    """A copy of fold 0's adapter."""
    return Path(shutil.copytree(world.adapter, tmp_path / "fold0"))


def run(world, tmp_path, **changes):
    given = world.arguments(out=tmp_path / "scores.parquet", work=tmp_path / "work", **changes)
    score_choices(**given)
    return pd.read_parquet(tmp_path / "scores.parquet")


def refused(world, tmp_path, message, **changes):
    """The scoring stops with the message, and leaves nothing."""
    with pytest.raises(UserError, match=message):
        run(world, tmp_path, **changes)
    assert not (tmp_path / "scores.parquet").exists()


@pytest.mark.parametrize("folds", ["folds.parquet", None])
def test_an_adapter_copied_under_another_folds_name_is_refused(world, adapter, tmp_path, folds):
    """`cp -a fold0 fold1`: it was trained on the rows of fold 1, and would score them with rc 0. Of test rows too."""
    given = {"folds": world.folder / folds} if folds else {}
    assert len(run(world, tmp_path, adapter=adapter, part="0", **given)) == (8 if folds else 16)
    (tmp_path / "scores.parquet").unlink()
    refused(
        world, tmp_path, r"or is that of another fold: .* rows of fold 1\. Delete", adapter=adapter, part="1", **given
    )


def test_the_adapter_of_another_seed_is_refused(world, adapter, tmp_path):
    """Two seeds of one fold would be one model twice, whose agreement says nothing."""
    told = json.loads((adapter / "run.json").read_text())
    write_run(adapter, {key: told[key] for key in ("parity", "versions", "held_out")} | {"train": {"seed": 1}})
    run(world, tmp_path, adapter=adapter, part="0-seed1")
    (tmp_path / "scores.parquet").unlink()
    refused(world, tmp_path, r"was trained from the seed 1\.", adapter=adapter, part="0-seed2")


def doubled_alpha(folder):
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 2 * settings["lora_alpha"]}))


def flipped(folder):
    data = bytearray((folder / "adapter_model.safetensors").read_bytes())
    data[-5] ^= 1
    (folder / "adapter_model.safetensors").write_bytes(data)


def other_base(folder):
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"min_pixels": 3136', '"min_pixels": 3137'))


def unsigned(folder):
    told = json.loads((folder / "run.json").read_text())
    del told["files"], told["digest"]
    (folder / "run.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (doubled_alpha, r"adapter_config\.json: is not the file that training wrote"),
        (flipped, r"adapter_model\.safetensors: is not the file that training wrote"),
        (other_base, r"run\.json: was changed since training wrote it"),
        (unsigned, r"run\.json: was changed since training wrote it, or has no digest"),
        (lambda folder: (folder / "adapter_config.json").unlink(), r"has no adapter_config\.json\. Train it again"),
    ],
)
def test_an_adapter_that_was_changed_by_hand_or_by_a_fault_is_refused(world, adapter, tmp_path, harm, message):
    harm(adapter)
    refused(world, tmp_path, message, adapter=adapter)


@pytest.mark.parametrize("vision_gb", [0, 1])
def test_a_picture_replaced_under_its_name_is_refused_and_never_stored(world, tmp_path, vision_gb):
    """Its numbers were stored under the old picture's digest, and taken from there when the old one was back."""
    file, store = Path(world.table["image_file"][0]), Store(tmp_path / "store", 1)
    given = {
        "store": store,
        "vision": tmp_path / "vision",
        "vision_gb": vision_gb,
        "view": {"flip": True},
        "name": "hflip",
    }
    data = file.read_bytes()
    Image.new("RGB", Image.open(file).size, (255, 0, 0)).save(file)
    try:
        wanted = (
            rf"{re.escape(str(file))}: the image was replaced or changed .* Put the old file back, or run snakemake"
        )
        refused(world, tmp_path, wanted, **given)
        assert store.entries() == []
    finally:
        file.write_bytes(data)
    scores = run(world, tmp_path, **given)
    assert scores.equals(run(world, tmp_path, **given | {"store": Store(tmp_path / "none", 0), "vision_gb": 0}))
