"""The plan says before the first GPU hour whether a training fits, and it is right."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

import random_others
import rows
import tiny_shapes
from random_families import RECIPES
from vqaflow.bench.training_bench import TARGETS, train_config
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.plan.footprint import Footprint, usable_gib
from vqaflow.plan.plan_text import CARDS, largest_batch, matrix_lines
from vqaflow.plan.published import HUB_NAMES
from vqaflow.plan.shape import Shape, published
from vqaflow.plan.training_plan import Plan, Tokens, plan_of, usual_tokens

MEASURED = rows.ROOT / "docs" / "benchmarks" / "train.json"
# GiB of Transformers + PEFT on an H200: bf16, r 24, checkpointing, logits at the answer only; tokens per row 932, of
# the largest 1188.
OF_THE_LIBRARY = [
    ("qwen3-vl-8b", 4, 932, 19.4),
    ("qwen3-vl-8b", 16, 932, 26.2),
    ("qwen3.5-9b", 4, 932, 21.6),
    ("qwen3.5-9b", 16, 932, 31.6),
    ("qwen3.5-27b", 1, 1188, 54.7),
    ("qwen3.5-27b", 2, 1188, 56.6),
    ("qwen3.5-27b", 4, 1188, 60.2),
]


@pytest.mark.parametrize(("name", "batch", "tokens", "gib"), OF_THE_LIBRARY)
def test_the_librarys_peaks_are_the_measured_ones(name: str, batch: int, tokens: int, gib: float) -> None:
    """Within 15 %, for dense layers, layers with a state, and batches in which either fills the memory."""
    footprint = Footprint(
        published(name),
        batch * tokens,
        24,
        TARGETS,
        quantized=False,
        head=True,
        embedding=True,
        library=True,
        visual=batch * 768,
    )
    assert footprint.peak_gib == pytest.approx(gib, rel=0.15)


@pytest.mark.parametrize("kind", RECIPES)
def test_the_adapter_has_as_many_weights_as_peft_makes(kind: str) -> None:
    """Names in the configuration mean other linears in each family, and none of stacked experts."""
    from vqaflow.bench.random_base import build

    config = tiny_shapes.config(kind)
    base = build(config, torch.device("cpu"), "none", torch.float32)
    targets = TARGETS if kind != "qwen3_vl_moe" else TARGETS[:4]
    lora = replace(train_config().lora, targets=targets)
    add_adapter(base, lora, seed=0)
    footprint = Footprint(Shape.of(config), 1, lora.r, targets)
    assert footprint.adapter_weights == sum(weight.numel() for weight in trainable(base))


@pytest.mark.parametrize("name", random_others.NAMES)
def test_so_it_has_in_families_with_separate_passes(name: str) -> None:
    """There the names are those of linears wherever they lie in a layer."""
    from vqaflow.bench.random_base import build

    config = random_others.config(name).to_dict()
    base = build(config, torch.device("cpu"), "none", torch.float32)
    lora = train_config().lora
    add_adapter(base, lora, seed=0)
    adapter = Footprint(Shape.of(config), 1, lora.r, lora.targets).adapter_weights
    assert adapter == sum(weight.numel() for weight in trainable(base))


def test_nf4_does_not_reach_experts_nor_the_tower() -> None:
    """A 30B-A3B in NF4 takes 55 GiB all the same, and a T4 would be promised what it cannot hold."""
    sparse = Footprint(published("qwen3-vl-30b-a3b"), 1000, 24, TARGETS[:4])
    assert sparse.parts()["experts"] == pytest.approx(2 * 28.99e9 / 2**30, rel=0.01)
    assert sparse.parts() == replace(sparse, quantized=False).parts() | {
        name: sparse.parts()[name] for name in ("decoder", "working memory")
    }
    dense = Footprint(published("qwen3-vl-8b"), 1000, 24, TARGETS)
    small, large = dense.parts()["decoder"], replace(dense, quantized=False).parts()["decoder"]
    assert large == pytest.approx(2 * 6.946e9 / 2**30, rel=0.01) and 0.25 < small / large < 0.32


def test_layers_with_experts_keep_no_products() -> None:
    """The decoder always computes experts again; the plan promised a faster step that needs more memory."""
    sparse = Footprint(published("qwen3-vl-30b-a3b"), 4000, 24, TARGETS[:4], quantized=False)
    told = replace(sparse, kept_layers=48)
    assert told.keeping_layers == 0 and told.parts() == sparse.parts() and told.passes() == sparse.passes()
    assert sparse.keeping(1e6).kept_layers == 0
    layers = sparse.shape.layers
    dense = published("qwen3-vl-8b").layers[:2]
    mixed = replace(sparse, shape=replace(sparse.shape, layers=(*dense, *layers[2:])), kept_layers=47)
    assert mixed.keeping_layers == 1 and replace(mixed, kept_layers=48).keeping_layers == 2
    assert mixed.passes() < replace(mixed, kept_layers=46).passes() == replace(mixed, kept_layers=0).passes()


def test_deepstack_and_layers_with_a_state_take_memory_of_their_own() -> None:
    """Both grow with the tokens."""
    stacked, plain = (Footprint(published("qwen3-vl-8b"), 4000, 24, TARGETS, visual=n) for n in (3000, 0))
    assert stacked.peak_gib - plain.peak_gib == pytest.approx(3 * 3000 * 4096 * 2 / 2**30)
    shape = published("qwen3.5-9b")
    full = tuple(replace(layer, channels=0) for layer in shape.layers)
    with_state, without = (
        Footprint(one, 4000, 24, TARGETS, quantized=False) for one in (shape, replace(shape, layers=full))
    )
    assert with_state.peak_gib > without.peak_gib + 0.3


def test_separate_passes_take_one_row_per_order() -> None:
    """Gemma's choice orders share nothing: tokens, the tower's work and the layers are those of four rows."""
    train = replace(train_config(), cache_vision="disk")

    def planned(name: str, orders: int) -> Plan:
        shape = published(name)
        tokens = usual_tokens([768], orders, shape)
        return plan_of(shape, replace(train, choice_orders=orders), tokens, 100, torch.bfloat16, False, 139.8, 1e14)

    assert planned("internvl3.5-8b", 4).tokens.largest == 4 * 932 and planned("7b", 4).tokens.largest == 1124
    separate = planned("internvl3.5-8b", 1)
    assert separate.footprint.library and separate.footprint.tower and separate.footprint.embedding
    assert planned("internvl3.5-8b", 4).seconds == pytest.approx(4 * separate.seconds)
    assert not planned("qwen3-vl-8b", 1).footprint.tower


def test_the_matrix_says_what_fits() -> None:
    """As docs/models.md shows it: a 27B in 16 bits needs its winner's card of 80 GB, and float16 cards are told."""
    train = replace(train_config(), cache_vision="disk")
    lines = matrix_lines(train)
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines[2:-2]}
    assert list(cells) == list(HUB_NAMES.values()) and len(lines[0].split(" | ")) == 1 + len(CARDS)
    assert cells["qwen3.5-27b"][0] == "no float16" and cells["qwen3.5-27b"][2].startswith("– / ")
    assert int(cells["qwen3.5-27b"][3].split(" / ")[0]) >= 4
    assert cells["7b"][0].startswith("– / ") and int(cells["7b"][0].split(" / ")[1]) >= 4
    assert "The 16 bits are float16, or bfloat16 for families that overflow float16" in lines[-1], "on every card"
    batch = largest_batch(published("7b"), train, 14.7, True)
    assert str(batch) == cells["7b"][0].split(" / ")[1]


def test_predicted_peaks_are_the_measured_ones() -> None:
    """Within 15 % on every row of the last full measurement, and recomputed by today's formula."""
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))["rows"]
    ours = [row for row in measured if row["recipe"].startswith("ours")]
    train = train_config()
    for row in ours:
        footprint = Footprint(
            published("7b"),
            row["batch"] * (868 + 64 * row["orders"]),
            train.lora.r,
            train.lora.targets,
            tower=row["vision"] != "cached",
        )
        if kept := re.search(r"(\d+) layers keep", row["recipe"]):
            footprint = replace(footprint, kept_layers=int(kept[1]))
        if "nothing recomputed" in row["recipe"]:
            footprint = replace(footprint, kept_layers=28)
        assert footprint.peak_gib == pytest.approx(row["peak GiB"], rel=0.15), row
    assert len(ours) > 8


def test_memory_is_filled_but_not_over() -> None:
    """`auto` keeps as many products as fit, and none where nothing fits."""
    train = replace(train_config(), gradient_checkpointing="auto", cache_vision="disk")
    tokens = Tokens(1124, 1124, 768)

    def kept(vram: float) -> int:
        planned = plan_of(published("7b"), train, tokens, 100, torch.float16, True, vram, 1e13)
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
        return plan_of(published("7b"), replace(train, **changes), tokens, 100, torch.float16, True, 79.0, 1e13)

    usual = planned()
    assert usual.steps == 75 and planned(accumulation=4).steps == 21
    assert planned(largest=1000).seconds == usual.seconds
    assert planned(largest=1000).footprint.peak_gib < usual.footprint.peak_gib
    without = planned(visual=0).seconds
    assert 0 < without < usual.seconds
    always = planned(cache_vision="off").seconds
    assert always - without == pytest.approx(3 * (usual.seconds - without), rel=1e-6)


def test_two_devices_halve_the_steps_time_and_take_no_more_memory() -> None:
    """Kept features are computed by each device; a step of one pass becomes a pass of half the rows on each."""
    train = replace(train_config(), cache_vision="memory", epochs=3, batch_size=4, accumulation=4)

    def planned(visual: int = 768, **changes: Any) -> Plan:
        tokens = Tokens(1000, 2000, visual)
        return plan_of(published("7b"), replace(train, **changes), tokens, 100, torch.float16, True, 79.0, 1e13)

    one, two = planned(), planned(devices=2)
    tower = one.seconds - planned(visual=0).seconds
    assert two.seconds - tower == pytest.approx((one.seconds - tower) / 2) and two.steps == one.steps
    assert two.footprint.peak_gib == one.footprint.peak_gib
    halved = planned(accumulation=1, devices=2).footprint
    assert halved.peak_gib == planned(batch_size=2, accumulation=1).footprint.peak_gib < one.footprint.peak_gib


def test_fp8_weights_take_a_byte_and_are_expanded_for_training() -> None:
    """A 7B that is planned to fit must fit: a byte per weight of the decoder's linears, and one MLP matrix expanded."""
    shape = published("7b")
    plain, fp8 = (Footprint(shape, 4000, 24, TARGETS, quantized=False, fp8=is_fp8) for is_fp8 in (False, True))
    saved = plain.parts()["decoder"] - fp8.parts()["decoder"]
    assert saved == pytest.approx(shape.linear_weights / 2**30)
    assert fp8.parts()["working memory"] > plain.parts()["working memory"]
    assert {part for part, size in fp8.parts().items() if size != plain.parts()[part]} == {"decoder", "working memory"}
