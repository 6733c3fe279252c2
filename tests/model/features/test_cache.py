"""Features are kept where the configuration says, as long as they are what the tower would give now, and cheaply."""

import os
import time
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rows
from vqaflow.config.sections import ViewConfig
from vqaflow.model.encoding import row_encoder
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features import folder as feature_folder
from vqaflow.model.features.folder import MAKERS, FeatureFolder
from vqaflow.model.vision import finite_features
from vqaflow.runtime import files
from vqaflow.runtime.code_digest import reachable
from vqaflow.runtime.versions import decisive_versions

TWO_DAYS_AGO = time.time() - 2 * 24 * 3600


def test_keeping_features_does_not_look_through_the_folder_each_time(world, tmp_path, monkeypatch) -> None:
    """With tens of thousands of images kept, each further one would take longer than its tower's pass."""
    kept = world.folder(tmp_path)
    looks = []
    monkeypatch.setattr(files, "sweep", lambda *_: looks.append(1))
    monkeypatch.setattr(feature_folder, "sweep", lambda *_: looks.append(1))
    for name in "abc":
        kept.write(name, torch.ones(4, 8))
    assert not looks and torch.equal(kept.read("c"), torch.ones(4, 8))


def test_what_killed_jobs_left_among_the_features_goes(world, tmp_path) -> None:
    """Half-written features of 5 MB each would fill the disk, counted against hardware.vision_gb and read by nobody."""
    kept = world.folder(tmp_path)
    kept.write("a", torch.ones(4, 8))
    old, new = (kept.folder / f".b.safetensors.{name}.safetensors" for name in ("old", "new"))
    for file in (old, new):
        file.write_text("half")
    os.utime(old, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    assert world.folder(tmp_path).read("a") is not None
    assert sorted(p.name for p in kept.folder.iterdir()) == [new.name, "a.safetensors"]


@pytest.mark.parametrize(("mode", "in_memory"), [("off", 0), ("memory", 5), ("disk", 0)])
def test_only_the_mode_memory_takes_memory(world, tmp_path, passes, mode, in_memory) -> None:
    """`cache_vision: disk` is for a host that cannot hold all features: 22 GB for 4000 images at 7B."""
    cache = world.cache(mode, tmp_path)
    cache.fill(world.items)
    assert len(cache.kept) == in_memory
    again = cache.of([*world.items, *world.items])
    assert sum(passes) == (10 if mode == "off" else 5) and len(cache.kept) == in_memory
    plain = world.cache("off", tmp_path).of(world.items)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(again, [*plain, *plain], strict=True))


def test_what_the_disk_has_no_room_for_is_computed_once(world, tmp_path, passes, monkeypatch) -> None:
    """The tower has left the GPU after `fill`: each epoch would run it on the CPU."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_folder, "save_file", full)
    cache = world.cache("disk", tmp_path)
    cache.fill(world.items)
    cache.of(world.items)
    assert sum(passes) == 5


def other_code(world: Any, monkeypatch) -> Any:
    """The image pipeline as after an edit."""
    monkeypatch.setattr(feature_folder, "code_digest", lambda file: "edited" if file == row_encoder.__file__ else file)
    return world


def other_tower_code(world: Any, monkeypatch) -> Any:
    """The tower's forward as after an edit."""
    monkeypatch.setattr(
        feature_folder, "code_digest", lambda file: "edited" if file == finite_features.__file__ else file
    )
    return world


def other_processor(world: Any, monkeypatch) -> Any:
    """A base whose preprocessor_config.json normalises otherwise."""
    encoder = copy(world.encoder)
    encoder.image_processor = deepcopy(encoder.image_processor)
    encoder.image_processor.image_mean = [0.5, 0.5, 0.5]
    return world.but(encoder=encoder)


def other_release(world: Any, monkeypatch) -> Any:
    """An update of a package that makes pixels."""
    versions = decisive_versions() | {"qwen-vl-utils": "0.0.99"}
    monkeypatch.setattr(feature_folder, "decisive_versions", lambda: versions)
    return world


def other_limits(world: Any, monkeypatch) -> Any:
    """A view, or a model's setting, with more pixels."""
    settings = rows.model_config(max_pixels=99 * 784)
    return world.but(encoder=RowEncoder(world.base.processor, settings, rows.prompt_config()))


def other_precision(world: Any, monkeypatch) -> Any:
    """The same base on a machine that computes in float16."""
    return world.but(base=replace(world.base, dtype=torch.float16))


def other_tower(world: Any, monkeypatch) -> Any:
    """Another base, whose tower has other weights."""
    other = replace(world.base, model=deepcopy(world.base.model))
    with torch.no_grad():
        other.visual.blocks[0].norm1.weight.mul_(1.5)
    return world.but(base=other)


CHANGES = [other_code, other_tower_code, other_processor, other_release, other_limits, other_precision, other_tower]


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_other_makers_are_never_read(world, tmp_path, monkeypatch, change) -> None:
    """Scores would be those of older pixels, in silence, for as long as the features lie there."""
    monkeypatch.setattr(feature_folder, "code_digest", lambda file: file)
    world.folder(tmp_path).write("a", torch.ones(4, 8))
    assert world.folder(tmp_path).read("a") is not None
    assert change(world, monkeypatch).folder(tmp_path).read("a") is None


def test_the_code_that_makes_features_belongs_to_their_key() -> None:
    """A module that is reached by neither digest could change pixels and leave the older features in use."""
    reached = {path.stem for file in MAKERS for path in reachable(Path(file))}
    assert reached >= {
        "decoding",
        "row_encoder",
        "windows",
        "fused_tower",
        "whole_tower",
        "elementwise",
        "finite_features",
    }
    assert reached >= {"whole_images", "qwen3_vl", "qwen3_5"}


def test_features_of_other_code_make_room(world, tmp_path, monkeypatch) -> None:
    """After some updates hardware.vision_gb would be full of what nobody reads, and nothing kept for other folds."""
    kept = world.folder(tmp_path)
    flipped = FeatureFolder(tmp_path, world.base, world.encoder, ViewConfig(flip=True))
    for folder in (kept, flipped):
        folder.write("a", torch.ones(4, 8))
        os.utime(folder.folder, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    mine = tmp_path / "mine"
    mine.mkdir()
    os.utime(mine, (TWO_DAYS_AGO, TWO_DAYS_AGO))
    world.folder(tmp_path)
    assert kept.folder.exists() and flipped.folder.exists(), "views share the code and live side by side"
    other_code(world, monkeypatch)
    os.utime(flipped.folder)
    world.folder(tmp_path)
    assert not kept.folder.exists() and flipped.folder.exists(), "what was written today may be in use"
    assert mine.exists(), "a folder that no job has made"
