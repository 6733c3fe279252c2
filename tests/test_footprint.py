"""Whether a training fits is told before the first GPU hour, and told rightly."""

import json
from dataclasses import replace

import pytest
import torch

import rows
from vqaflow import plan
from vqaflow.bench_train import train_config
from vqaflow.footprint import Footprint, usable_gib
from vqaflow.shapes import SHAPES, Shape
from vqaflow.training_plan import Tokens, plan_of

MEASURED = rows.ROOT / "docs" / "benchmarks" / "train.json"
KAGGLE = """
model: {base: Qwen/Qwen2.5-VL-7B-Instruct, min_pixels: 200704, max_pixels: 602112}
train: {batch_size: 4, choice_orders: 4, cache_vision: disk, lora: {r: 24, alpha: 48}}
"""


@pytest.mark.parametrize("name", ["7b", "3b", "tiny"])
def test_weights_are_counted_as_the_library_builds_them(name: str) -> None:
    """A wrong count would make memory and hours wrong in proportion."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    shape = SHAPES[name]
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(shape.config())
    linears = [
        module.weight.numel()
        for layer in network.model.language_model.layers
        for module in layer.modules()
        if isinstance(module, torch.nn.Linear)
    ]
    assert shape.linear_weights == sum(linears)
    tower = sum(weight.numel() for weight in network.model.visual.parameters())
    assert shape.tower_weights == pytest.approx(tower, rel=0.01)
    assert Shape.of(json.loads(network.config.to_json_string(use_diff=False))) == shape


def test_predicted_peaks_are_the_measured_ones() -> None:
    """Within 15 % on every row of the last full measurement, and recomputed by today's formula."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    ours = [row for row in measured if row["recipe"].startswith("ours")]
    train = train_config()
    for row in ours:
        footprint = Footprint(
            SHAPES["7b"],
            row["batch"] * (868 + 64 * row["orders"]),
            train.lora.r,
            train.lora.targets,
            tower=row["vision"] != "cached",
        )
        if "layers keep" in row["recipe"]:
            footprint = footprint.keeping(9.5)
        if "nothing recomputed" in row["recipe"]:
            footprint = replace(footprint, kept_layers=28)
        assert footprint.peak_gib == pytest.approx(row["peak GiB"], rel=0.15), row
    assert len(ours) > 8


def test_memory_is_filled_but_not_over() -> None:
    """`auto` keeps as many products as fit, and none where nothing fits."""
    train = replace(train_config(), gradient_checkpointing="auto", cache_vision="disk")
    tokens = Tokens(1124, 1124, 768)

    def kept(vram: float) -> int:
        planned = plan_of(SHAPES["7b"], train, tokens, 100, torch.float16, True, vram, 1e13)
        assert planned.footprint.kept_layers == 0 or planned.footprint.peak_gib <= usable_gib(vram)
        return planned.footprint.kept_layers

    assert kept(7.0) == 0
    assert 0 < kept(14.7) < 28
    assert kept(79.0) == 28


@pytest.fixture
def kaggle(tmp_path):
    """A user's own configuration for a 7B base."""
    file = tmp_path / "my.yaml"
    file.write_text(KAGGLE, encoding="utf-8")
    return ["--config", str(rows.ROOT / "config.yaml"), str(file), "--rows", "2591", "--table", str(tmp_path / "no")]


def test_a_plan_needs_neither_weights_nor_gpu(kaggle, capsys) -> None:
    """Someone on Kaggle learns from a name and numbers alone that it fits a T4."""
    plan.main(kaggle)
    told = capsys.readouterr().out
    assert "tokens a row: 1124" in told and "768 are visual" in told
    assert "of 14.7 GiB: fits" in told and "hours" in told


def test_a_plan_that_does_not_fit_ends_with_a_cure(kaggle, capsys) -> None:
    """Exit status 1, and what to set instead."""
    with pytest.raises(SystemExit) as ended:
        plan.main([*kaggle, "--vram", "8"])
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert "does NOT fit" in told.out
    assert "Set it to 2" in told.err or "Set it to 1" in told.err


def test_an_unknown_base_is_asked_for_its_shape(kaggle, tmp_path, capsys) -> None:
    """A folder that is not there must not be planned with another base's numbers."""
    (tmp_path / "other.yaml").write_text("model: {base: somewhere/else}", encoding="utf-8")
    with pytest.raises(SystemExit):
        plan.main([*kaggle[:3], str(tmp_path / "other.yaml"), *kaggle[3:]])
    assert "--shape" in capsys.readouterr().err


def test_a_checkpoint_says_its_own_shape() -> None:
    """The numbers come from the base's config.json when it is there."""
    assert plan.shape_of(str(rows.ROOT / "assets" / "tiny-qwen2_5-vl"), None).hidden == 128
    assert plan.shape_of("Qwen/Qwen2.5-VL-3B-Instruct", None) == SHAPES["3b"]
