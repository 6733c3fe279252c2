"""The six mistakes that end most first attempts at this task on a T4, each ruled out; see also test_alignment.py.

The loss's position (the fourth) is test_alignment's: it holds the labels of the last tokens against the template.
"""

import json
import re
import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import random_qwen
import rows
from places import PACKAGE
from vqaflow.bench.training_bench import train_config
from vqaflow.config.sections import LoraConfig, ViewConfig, section
from vqaflow.model import base as base_model
from vqaflow.model import checkpoint
from vqaflow.model.base import compute_dtype, load_base, quantization
from vqaflow.model.decoder.layouts import PaddedLayout, make_layout
from vqaflow.model.encoding.prompts import PromptRenderer
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.families import qwen2_5_vl
from vqaflow.model.lora import add_adapter, trainable
from vqaflow.runtime.errors import UserError
from vqaflow.training.adapter_folder import settings_of

GPU = torch.device("cuda")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small checkpoint with its processor."""
    path = tmp_path_factory.mktemp("base")
    random_qwen.model().save_pretrained(path)
    random_qwen.processor().save_pretrained(path)
    return path


def card(monkeypatch, capability: tuple[int, int]) -> None:
    """Pretend that the GPU has this compute capability: 7.5 is a T4's."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")


def test_1_another_kind_of_model_is_refused(folder, tmp_path) -> None:
    """The library would load a Qwen2-VL into a Qwen2.5-VL, most weights random, with a warning."""
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps(config | {"model_type": "qwen2_vl"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"is a Qwen2-VL model by its model_type .* a Qwen2\.5-VL model by its arch"):
        load_base(rows.model_config(base=str(other)), CPU)


def test_1_a_checkpoint_that_lacks_weights_is_refused(folder, tmp_path) -> None:
    """The library would fill them with random ones, with a warning."""
    from safetensors.torch import load_file, save_file

    part = shutil.copytree(folder, tmp_path / "part")
    weights = load_file(part / "model.safetensors")
    name = next(name for name in weights if "layers.1.mlp.up_proj" in name)
    save_file(
        {key: value for key, value in weights.items() if key != name}, part / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(UserError, match=r"lacks .*layers\.1\.mlp\.up_proj"):
        load_base(rows.model_config(base=str(part)), CPU)


def test_1_a_text_only_model_is_named_with_its_cure(tmp_path) -> None:
    """The library only raises an error about processing classes."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"^config model\.base: .* is a llama model.*Give a checkpoint of Qwen2-VL, "):
        load_base(rows.model_config(base=str(tmp_path)), CPU)


def test_2_bfloat16_is_refused_on_a_t4_and_float16_chosen(folder, monkeypatch) -> None:
    """A T4 emulates bfloat16, many times slower."""
    card(monkeypatch, (7, 5))
    with pytest.raises(UserError, match=r"Tesla T4 has no bfloat16.*Use float16"):
        compute_dtype(rows.model_config(compute_dtype="bfloat16"), GPU)
    assert compute_dtype(rows.model_config(base=str(folder), compute_dtype="auto"), GPU) is torch.float16
    card(monkeypatch, (8, 0))
    assert compute_dtype(rows.model_config(compute_dtype="bfloat16"), GPU) is torch.bfloat16


def test_2_float16_is_refused_where_the_family_overflows_it(monkeypatch, tmp_path) -> None:
    """The first steps would give NaN. A T4 has nothing faster than float32 for such a base."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_5"}', encoding="utf-8")
    auto, half = (rows.model_config(base=str(tmp_path), compute_dtype=dtype) for dtype in ("auto", "float16"))
    card(monkeypatch, (7, 5))
    for model in (auto, half):
        with pytest.raises(UserError, match=r"Qwen3\.5 does not work in float16: .*Tesla T4 has no bfloat16 either"):
            compute_dtype(model, GPU)
    card(monkeypatch, (8, 0))
    assert compute_dtype(auto, GPU) is torch.bfloat16
    with pytest.raises(UserError, match=r"does not work in float16: .*Use bfloat16\.$"):
        compute_dtype(half, GPU)


@pytest.mark.parametrize(("gib", "expected"), [(14.7, "nf4"), (22.5, "nf4"), (39.4, "none"), (79.2, "none")])
def test_2_nf4_is_chosen_where_16_bits_do_not_fit(gib, expected, monkeypatch) -> None:
    """4 bits cost accuracy, so a large card does without; 15.5 GiB are the weights of a 7B."""
    card(monkeypatch, (8, 0))
    properties = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device=None: properties)
    monkeypatch.setattr(checkpoint, "weights_gib", lambda model: 15.5)
    assert quantization(rows.model_config(quantization="auto"), GPU) == expected


def test_3_attention_is_sdpa_and_no_flash_package_is_asked_for(folder, monkeypatch, tmp_path) -> None:
    """FlashAttention-2 does not exist for a T4, and eager attention overflows."""
    base = load_base(rows.model_config(base=str(folder)), CPU)
    assert base.network.config.text_config._attn_implementation == "sdpa"
    for file in PACKAGE.rglob("*.py"):
        assert "flash_attention_2" not in file.read_text(encoding="utf-8"), file
        assert not re.search(r"import flash_attn|from flash_attn", file.read_text(encoding="utf-8")), file
    card(monkeypatch, (7, 5))
    encoder = RowEncoder(base.processor, rows.model_config(), rows.prompt_config())
    encoded = [encoder.encode(rows.make_rows(tmp_path, 1)[0], ["abcd"], rows.VIEW)]
    made = []
    monkeypatch.setattr(PaddedLayout, "__init__", lambda self, *arguments: made.append(arguments))
    assert isinstance(make_layout(encoded, 0, GPU, torch.float16), PaddedLayout) and made


def test_3_eager_attention_is_refused_after_loading(folder, monkeypatch) -> None:
    """Even if the checkpoint's own configuration asks for it."""
    network = random_qwen.model()
    network.config.text_config._attn_implementation = "eager"
    with pytest.raises(UserError, match="'eager' attention"):
        base_model.require_placement(network, qwen2_5_vl.FAMILY, "none")


def test_5_special_tokens_come_from_the_template_alone(tmp_path) -> None:
    """Another template makes another prompt, and no special token is written into the package's prompts."""
    processor = random_qwen.processor()
    row = rows.make_rows(tmp_path, 1)[0]
    before = PromptRenderer(processor, rows.prompt_config()).render(row, ["abcd"])
    other = copy(processor)
    other.chat_template = processor.chat_template.replace("<|im_start|>", "<turn>")
    after = PromptRenderer(other, rows.prompt_config()).render(row, ["abcd"])
    assert after.prefix == before.prefix.replace("<|im_start|>", "<turn>") != before.prefix
    for folder in ("model", "training", "scoring"):
        for file in (PACKAGE / folder).rglob("*.py"):
            assert "<|" not in file.read_text(encoding="utf-8"), file


def test_6_training_and_scoring_share_one_resolution(tmp_path) -> None:
    """The view that is trained is the one that is scored: same limits, same grid, same patches."""
    encoder = RowEncoder(random_qwen.processor(), rows.model_config(), rows.prompt_config())
    views = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))["views"]
    scored = section(ViewConfig, views["original"])
    assert encoder.pixel_limits(ViewConfig()) == encoder.pixel_limits(scored) == (56 * 56, 140 * 140)
    for row in rows.make_rows(tmp_path):
        grid = encoder.grid_of(row.width, row.height, ViewConfig())
        assert grid == encoder.grid_of(row.width, row.height, scored)
        trained, seen = (encoder.pixels(row.image_file, view) for view in (ViewConfig(), scored))
        assert torch.equal(trained, seen) and len(trained) == grid[1] * grid[2], "nothing may resize twice"
        assert 14 * 14 * len(trained) <= 140 * 140, "the configured limit must be the one that holds"


def test_tower_and_head_stay_unquantised(folder) -> None:
    """A quantised tower makes nonsense; what was loaded is checked, not what was asked for."""
    base = load_base(rows.model_config(base=str(folder), quantization="nf4"), CPU)
    add_adapter(base, LoraConfig(r=2, alpha=4, dropout=0.0, targets=("q_proj", "down_proj")), seed=0)
    told = settings_of(base, rows.model_config(), train_config())
    assert told["linears"] == {"language_model": ["Linear4bit"], "visual": ["Linear"], "lm_head": ["Linear"]}


def test_a_skip_list_that_matches_nothing_is_reported(folder, monkeypatch) -> None:
    """`visual` instead of `model.visual` quantises the tower without a warning."""
    nf4 = base_model.nf4_config
    wrong = replace(qwen2_5_vl.FAMILY, unquantized=("visual", "lm_head"))
    monkeypatch.setattr(base_model, "nf4_config", lambda family, dtype: nf4(wrong, dtype))
    with pytest.raises(UserError, match=r"model\.visual.*was loaded as Linear4bit"):
        load_base(rows.model_config(base=str(folder), quantization="nf4"), CPU)


def test_adapters_are_float32_and_in_the_decoder_only(folder) -> None:
    """The tower has modules of the same last names (gate, up, down); only the path differs."""
    base = load_base(rows.model_config(base=str(folder), compute_dtype="float16"), CPU)
    add_adapter(base, train_config().lora, seed=0)
    named = {name: weight.dtype for name, weight in base.model.named_parameters() if weight.requires_grad}
    assert len(named) == len(trainable(base)) == 2 * 7 * len(base.language_model.layers)
    assert all("model.language_model.layers." in name and kind is torch.float32 for name, kind in named.items())
    assert any(name.endswith("gate_proj.weight") for name, _ in base.visual.named_parameters())
