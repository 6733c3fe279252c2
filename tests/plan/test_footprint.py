"""The plan says before the first GPU hour whether a training fits, and it is right."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

import rows
from vqaflow.bench.random_base import library_config
from vqaflow.bench.training_bench import train_config
from vqaflow.plan.footprint import Footprint, usable_gib
from vqaflow.plan.shape import SHAPES, Shape
from vqaflow.plan.training_plan import Plan, Tokens, plan_of

MEASURED = rows.ROOT / "docs" / "benchmarks" / "train.json"


@pytest.mark.parametrize("name", ["7b", "3b", "tiny"])
def test_weights_are_counted_as_the_library_builds_them(name: str) -> None:
    """A wrong count would make memory and hours wrong in proportion."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    shape = SHAPES[name]
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(library_config(shape))
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


def test_time_follows_the_mean_row_and_memory_the_largest() -> None:
    """A step is one optimiser step; the tower's time counts once if its features are kept."""
    train = replace(train_config(), cache_vision="memory", epochs=3, batch_size=4, accumulation=1)

    def planned(largest: int = 2000, visual: int = 768, **changes: Any) -> Plan:
        tokens = Tokens(1000, largest, visual)
        return plan_of(SHAPES["7b"], replace(train, **changes), tokens, 100, torch.float16, True, 79.0, 1e13)

    usual = planned()
    assert usual.steps == 75 and planned(accumulation=4).steps == 21
    assert planned(largest=1000).seconds == usual.seconds
    assert planned(largest=1000).footprint.peak_gib < usual.footprint.peak_gib
    without = planned(visual=0).seconds
    assert 0 < without < usual.seconds
    always = planned(cache_vision="off").seconds
    assert always - without == pytest.approx(3 * (usual.seconds - without), rel=1e-6)
