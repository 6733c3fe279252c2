"""What scoring computes with an adapter is what PEFT computes with it; an adapter that does not fit is refused."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

import random_qwen
import rows
import scoring_world
from vqaflow.artifacts.adapter_files import adapter_digest
from vqaflow.config.sections import ModelConfig
from vqaflow.model.base import Base, load_base
from vqaflow.model.decoder.branches import answer_states, pack
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.model.decoder.layouts import make_layout
from vqaflow.model.decoder.merged_adapters import read_adapter, use_adapter
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.vision.windows import image_features
from vqaflow.runtime.errors import UserError

CPU = torch.device("cpu")
ORDERS = ["abcd", "bcda"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A base, an adapter for it, and pictures."""
    folder = tmp_path_factory.mktemp("adapters")
    scoring_world.save_base(folder / "base")
    scoring_world.save_adapter(folder / "adapter")
    return folder


def model(folder: Path, quantization: str) -> ModelConfig:
    """The section `model` of the folder's base."""
    return rows.model_config(base=str(folder / "base"), quantization=quantization)


def damaged(folder: Path, copy: Path, change) -> Path:
    """A copy of the adapter after `change` of its tensors."""
    copy.mkdir()
    (copy / "adapter_config.json").write_bytes((folder / "adapter" / "adapter_config.json").read_bytes())
    tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, copy / "adapter_model.safetensors")
    return copy


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_merged_a_pass_at_a_time_is_pefts_function(folder, tmp_path, quantization) -> None:
    """OOF scores must be those of the adapter that training validated, on plain and on quantised weights."""
    table = rows.make_rows(tmp_path, 3)
    base = load_base(model(folder, quantization), CPU)
    encoder = RowEncoder(base.processor, model(folder, quantization), rows.prompt_config())
    encoded = [encoder.encode(row, ORDERS, rows.VIEW) for row in table]
    pixels = [encoder.pixels(row.image_file, rows.VIEW) for row in table]
    features = image_features(base.visual, pixels, [e.grid for e in encoded])
    # In training mode: on some processors bitsandbytes rounds to bfloat16 when a model is only evaluated.
    tuned = Base(PeftModel.from_pretrained(base.model, folder / "adapter").train(), None, CPU, base.dtype, quantization)
    with torch.no_grad():
        expected = answer_states(tuned.language_model, pack(encoded, encoder.image_token, 0), features)
    decoder = FusedDecoder(load_base(model(folder, quantization), CPU))
    layout = make_layout(encoded, encoder.image_token, CPU, torch.float32)
    with torch.no_grad():
        without = decoder.answer_states(layout, features)
        use_adapter(decoder, read_adapter(folder / "adapter"))
        merged = decoder.answer_states(layout, features)
        use_adapter(decoder, None)
        assert torch.equal(decoder.answer_states(layout, features), without), "the base itself must stay as it was"
    torch.testing.assert_close(merged, expected, atol=2e-5, rtol=1e-5)
    assert (merged - without).abs().max() > 0.1


def test_an_adapter_of_a_larger_base_is_refused(folder) -> None:
    """Its tensors would not fit; the message says where."""
    network = random_qwen.model()
    network.model.language_model.layers = network.model.language_model.layers[:1]
    decoder = FusedDecoder(Base(network, None, CPU, torch.float32, "none"))
    with pytest.raises(UserError, match=r"another base.*layers\.1\..*does not have it"):
        use_adapter(decoder, read_adapter(folder / "adapter"))


def test_an_adapter_of_a_wider_base_is_refused(folder, tmp_path) -> None:
    """A 3B adapter on a 7B base means a wrong path, and the message must say so."""

    def widen(tensors: dict[str, torch.Tensor]) -> None:
        name = next(n for n in tensors if "layers.0" in n and "up_proj.lora_A" in n)
        tensors[name] = torch.randn(4, 48)

    decoder = FusedDecoder(Base(random_qwen.model(), None, CPU, torch.float32, "none"))
    with pytest.raises(UserError, match=r"up_proj \(64 x 48\).*has 64 x 64 there"):
        use_adapter(decoder, read_adapter(damaged(folder, tmp_path / "wide", widen)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(next(iter(t))), "missing"),
        (lambda t: t.update({"base_model.model.x.weight": torch.ones(1)}), "unknown"),
        (lambda t: next(t[name] for name in t if "lora_A" in name).fill_(float("nan")), "not finite"),
        (lambda t: next(t[name] for name in t if "lora_B" in name).fill_(float("inf")), "not finite"),
        (lambda t: t.clear(), "holds no tensor"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(folder, tmp_path, change, said) -> None:
    """PEFT loads what it finds and reports nothing else: half an adapter would score silently."""
    with pytest.raises(UserError, match=said):
        read_adapter(damaged(folder, tmp_path / "odd", change))


def test_files_that_are_missing_or_damaged_are_named(folder, tmp_path) -> None:
    """The cure is to train again, and the message says so."""
    with pytest.raises(UserError, match=r"no adapter_config\.json.*Train"):
        read_adapter(tmp_path)
    copy = damaged(folder, tmp_path / "copy", lambda tensors: None)
    (copy / "adapter_model.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match="damaged"):
        read_adapter(copy)
    (copy / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter_config\.json: is damaged"):
        read_adapter(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("rank_pattern", {"q_proj": 8}),
        ("alpha_pattern", {"q_proj": 8}),
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("alora_invocation_tokens", [1]),
    ],
)
def test_only_plain_lora_is_scored(folder, tmp_path, key, value) -> None:
    """DoRA's weights merged as LoRA's would be another function; PiSSA's belong to another base."""
    copy = damaged(folder, tmp_path / "copy", lambda tensors: None)
    file = copy / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=f"{key} = "):
        read_adapter(copy)


def test_rank_stabilised_scaling_is_pefts(folder, tmp_path) -> None:
    """alpha over the root of r, not over r: half of an adapter's weight at rank 4."""
    copy = damaged(folder, tmp_path / "copy", lambda tensors: None)
    file = copy / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"use_rslora": True}))
    assert read_adapter(copy).scaling == settings["lora_alpha"] / settings["r"] ** 0.5
    assert read_adapter(folder / "adapter").scaling == settings["lora_alpha"] / settings["r"]


@pytest.mark.parametrize("text", ["[]", "{}", '{"r": "x", "lora_alpha": 1}'])
def test_a_file_that_is_not_a_configuration_is_named(folder, tmp_path, text) -> None:
    """A file that another tool wrote must not end in a traceback."""
    copy = damaged(folder, tmp_path / "copy", lambda tensors: None)
    (copy / "adapter_config.json").write_text(text)
    with pytest.raises(UserError, match=r"adapter_config\.json: is damaged"):
        read_adapter(copy)


def test_an_adapter_is_known_by_what_it_computes(folder, tmp_path) -> None:
    """The same weights in another folder are in the store already; another scaling is another adapter."""
    copy = damaged(folder, tmp_path / "copy", lambda tensors: None)
    (copy / "adapter_model.safetensors").write_bytes((folder / "adapter" / "adapter_model.safetensors").read_bytes())
    file = copy / "adapter_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"base_model_name_or_path": "elsewhere"}))
    assert adapter_digest(copy) == adapter_digest(folder / "adapter")
    file.write_text(json.dumps(settings | {"lora_alpha": 99}))
    assert adapter_digest(copy) != adapter_digest(folder / "adapter")
