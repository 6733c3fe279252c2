"""An adapter that would have no effect on its base is found, and what engines would refuse is told."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

import random_qwen
from adapter_world import SHIPPED, AdapterWorld
from places import ROOT
from vqaflow.commands.command_line import main
from vqaflow.evaluation.verify.adapter import verify_adapter

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=SHIPPED)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AdapterWorld:
    return AdapterWorld(tmp_path_factory.mktemp("adapter"), ROOT / "assets" / request.param)


def verified(world: AdapterWorld, folder: Path | None = None, weights: bool = True) -> dict[str, tuple[str, str]]:
    lines = verify_adapter(folder or world.adapter, world.model, weights)
    return {name: (state, found) for name, state, found in lines}


def changed(world: AdapterWorld, copy: Path, change: Callable[[Tensors], Tensors], **config: object) -> Path:
    """A copy of the adapter, as another program would hand it on: without run.json."""
    shutil.copytree(world.adapter, copy, ignore=shutil.ignore_patterns("run.json"))
    save_file(change(load_file(copy / "adapter_model.safetensors")), copy / "adapter_model.safetensors")
    file = copy / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | config), encoding="utf-8")
    return copy


def same(tensors: Tensors) -> Tensors:
    return tensors


def test_a_whole_adapter_passes(world: AdapterWorld) -> None:
    found = verified(world)
    states = {name: state for name, (state, _) in found.items()}
    assert states == dict.fromkeys(["files", "base", "names", "matrices", "logits", "vllm"], "ok") | {
        "sglang": "refused"
    }
    assert "--enable-lora --max-lora-rank 8 --lora-modules tuned=" in found["vllm"][1]
    assert "regular expression" in found["sglang"][1]


def test_an_untrained_adapter_is_found(world: AdapterWorld, tmp_path: Path) -> None:
    """It loads everywhere, and the base answers."""
    folder = changed(world, tmp_path / "a", lambda t: {n: w * 0 if "lora_B" in n else w for n, w in t.items()})
    found = verified(world, folder)
    assert found["matrices"][0] == "FAILED" and "every matrix B is zero" in found["matrices"][1]
    assert found["logits"][0] == "FAILED" and "changes no logit" in found["logits"][1]


def test_names_that_the_base_lacks_are_found(world: AdapterWorld, tmp_path: Path) -> None:
    """As after a rename of the library's modules: engines ignore such tensors without a word."""
    folder = changed(world, tmp_path / "a", lambda t: {n.replace(".layers.", ".blocks."): w for n, w in t.items()})
    found = verified(world, folder)
    assert found["names"][0] == "FAILED" and ".blocks.0." in found["names"][1]
    assert found["logits"][0] == "skipped" and "vllm" not in found


def test_another_base_is_found(world: AdapterWorld, tmp_path: Path) -> None:
    """By the shapes, and with run.json also if these are the same."""
    random_qwen.model().save_pretrained(tmp_path / "other")
    random_qwen.processor().save_pretrained(tmp_path / "other")
    other = replace(world.model, base=str(tmp_path / "other"))
    found = {name: (state, said) for name, state, said in verify_adapter(world.adapter, other, False)}
    assert found["base"][0] == found["names"][0] == "FAILED"
    retrained = shutil.copytree(world.model.base, tmp_path / "retrained")
    weights = load_file(retrained / "model.safetensors")
    name = min(weights)
    save_file(weights | {name: weights[name] + 1}, retrained / "model.safetensors", metadata={"format": "pt"})
    alike = replace(world.model, base=str(retrained))
    found = {name: (state, said) for name, state, said in verify_adapter(world.adapter, alike, False)}
    assert found["base"][0] == "FAILED" and found["names"][0] == "ok"


@pytest.mark.parametrize(
    ("config", "engine", "told"),
    [
        ({"use_dora": True}, "vllm", "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "vllm", "lm_head would stay"),
        ({"bias": "all"}, "sglang", "bias"),
        ({"alpha_pattern": {"q_proj": 1}}, "vllm", "alpha_pattern"),
        ({"r": 1024}, "vllm", "more than the 512"),
        ({"use_rslora": True}, "sglang", "too weak"),
    ],
)
def test_what_an_engine_does_not_follow_is_told(
    world: AdapterWorld, tmp_path: Path, config: dict, engine: str, told: str
) -> None:
    state, found = verified(world, changed(world, tmp_path / "a", same, **config), weights=False)[engine]
    assert state == "refused" and told in found


def test_the_command_fails_for_an_engine_only_if_asked(world: AdapterWorld, capsys: pytest.CaptureFixture) -> None:
    """Our own check passes: SGLang matters to those who use it."""
    asked = ["verify", "adapter", str(world.adapter), "--base", world.model.base, "--files-only"]
    main(asked)
    assert "refused  sglang" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--engine", "sglang"])
    assert ended.value.code == 1


def test_an_export_lists_modules_and_loads_alike(world: AdapterWorld, tmp_path: Path) -> None:
    """The form that SGLang takes; to PEFT it is the same adapter, and the tower stays as it is."""
    main(["export", "adapter", str(world.adapter), "--out", str(tmp_path / "listed")])
    found = verified(world, tmp_path / "listed", weights=False)
    assert found["sglang"][0] == "ok" and "--lora-paths tuned=" in found["sglang"][1]
    networks = []
    for folder in (world.adapter, tmp_path / "listed"):
        base = AutoModelForImageTextToText.from_pretrained(world.model.base, dtype=torch.float32)
        networks.append(PeftModel.from_pretrained(base, folder).eval())
    states = [network.state_dict() for network in networks]
    assert states[0].keys() == states[1].keys()
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        one, other = (network(input_ids=tokens).logits for network in networks)
    assert torch.equal(one, other)
