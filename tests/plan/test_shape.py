"""Sizes are counted from the network that the library builds, whatever its family."""

import subprocess
import sys

import pytest
import torch

from random_families import RECIPES
from tiny_shapes import config
from vqaflow.model.checkpoint import without_weights
from vqaflow.plan.shape import Shape, library_config, published


@pytest.mark.parametrize("kind", RECIPES)
def test_every_weight_is_counted_once(kind: str) -> None:
    """A weight that is left out is missing in the GPU's memory."""
    shape = Shape.of(config(kind))
    network = without_weights(library_config(config(kind)))
    assert shape.weights == sum(weight.numel() for weight in network.parameters())
    layers = network.model.language_model.layers
    linears = [m.weight.numel() for m in layers.modules() if isinstance(m, torch.nn.Linear)]
    assert shape.linear_weights == sum(linears) and len(shape.layers) == len(layers)
    tower, last_norm = sum(weight.numel() for weight in network.model.visual.parameters()), shape.hidden
    assert shape.tower_weights == tower + last_norm


def test_layers_of_two_kinds_differ() -> None:
    """Qwen3.5's layers with linear attention have other linears, and a convolution."""
    shape = Shape.of(config("qwen3_5"))
    recurrent = [layer.channels > 0 for layer in shape.layers]
    assert recurrent == [kind == "linear_attention" for kind in RECIPES["qwen3_5"].text["layer_types"]]
    linear, full = shape.layers[0], shape.layers[2]
    assert linear.linears["linear_attn.in_proj_qkv"] == (2 * 2 * 16 + 4 * 24, 64) and linear.channels == 160
    assert "self_attn.q_proj" in full.linears and not full.channels


def test_experts_are_counted_and_those_that_work_on_a_token() -> None:
    """Memory holds all of them, time is that of the chosen ones."""
    layer = Shape.of(config("qwen3_vl_moe")).layers[0]
    assert layer.experts == 4 * 3 * 48 * 64 and layer.chosen == 0.5 and layer.width == 2 * 48
    assert layer.products == layer.linear_weights + layer.experts / 2
    big = published("qwen3-vl-30b-a3b")
    assert 2.5e9 < big.products < 3.5e9 < 28e9 < sum(layer.experts for layer in big.layers)


@pytest.mark.parametrize(
    ("name", "hidden", "inner", "pixels", "levels", "tied"),
    [
        ("7b", 3584, 18944, 28, 0, False),
        ("3b", 2048, 11008, 28, 0, True),
        ("qwen3-vl-8b", 4096, 12288, 32, 3, False),
        ("qwen3.5-9b", 4096, 12288, 32, 0, False),
        ("qwen3.5-35b-a3b", 2048, 4096, 32, 0, False),
        ("gemma-4-31b", 5376, 21504, 48, 0, True),
        ("internvl3.5-8b", 4096, 12288, 28, 0, False),
    ],
)
def test_sizes_that_memory_depends_on(name: str, hidden: int, inner: int, pixels: int, levels: int, tied: bool) -> None:
    """Tokens per image, and the widest values per token."""
    shape = published(name)
    assert (shape.hidden, shape.inner, shape.pixels, shape.levels, shape.tied) == (hidden, inner, pixels, levels, tied)


def test_a_class_that_nobody_named_is_counted_too() -> None:
    """The generic path loads it, so it must be planned."""
    llava = {"model_type": "llava", "vision_config": {"model_type": "clip_vision_model"}, "text_config": {}}
    shape, network = Shape.of(llava), without_weights(library_config(llava))
    assert len(shape.layers) == 32 and shape.weights == sum(weight.numel() for weight in network.parameters())
    assert shape.layers[0].linears["self_attn.q_proj"] == (4096, 4096)


def test_tables_per_layer_are_no_part_of_the_tower() -> None:
    """Gemma's E4B keeps 2.8 of its 8 billion weights in them; no patch goes through them."""
    shape = published("gemma-4-e4b")
    assert shape.tables > 3e9 and shape.tower_weights < 0.6e9


def test_reading_a_config_does_not_take_its_quantisation() -> None:
    """A network in NF4 has the shape of its checkpoint."""
    plain = config("qwen3_vl")
    assert Shape.of(plain | {"quantization_config": {"quant_method": "bitsandbytes"}}) == Shape.of(plain)


def test_a_dry_run_loads_no_model_library() -> None:
    """`vqaflow plan --help` and `snakemake -n` would take seconds longer."""
    code = "import sys, vqaflow.plan.shape, vqaflow.plan.published, vqaflow.commands.tools.plan as p, argparse;"
    code += "p.add_arguments(argparse.ArgumentParser()); print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
