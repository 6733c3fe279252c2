"""A merged checkpoint is base and adapter in one: for plain transformers, of every family, up to rounding."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import random_families
import random_others
import random_qwen
import scoring_world
from adapter_world import SHIPPED, AdapterWorld
from places import ROOT
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.model.decoder import merged_checkpoint
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.merge_adapter import Difference

MAKERS: dict[str, ModuleType] = {
    name: random_families for name in ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
}
MAKERS |= {name: random_others for name in random_others.NAMES}


def save_base(name: str, folder: Path) -> Path:
    """A base of the family `name`."""
    if name in SHIPPED:
        return ROOT / "assets" / name
    MAKERS[name].save(name, folder / "base")
    return folder / "base"


def text_logits(network: torch.nn.Module, folder: Path) -> torch.Tensor:
    """Next-token logits of a short text, by the library's forward."""
    tokens = AutoProcessor.from_pretrained(folder).tokenizer("Which bin? a paper b glass", return_tensors="pt")
    with torch.no_grad():
        return network.eval()(input_ids=tokens["input_ids"]).logits[0, -1].float()


@pytest.fixture
def world(tmp_path: Path) -> AdapterWorld:
    """The first family's shipped base with a random adapter."""
    return AdapterWorld(tmp_path, ROOT / "assets" / SHIPPED[0])


@pytest.mark.parametrize("name", [*SHIPPED, *MAKERS])
def test_merged_in_float32_is_base_and_adapter(name: str, tmp_path: Path) -> None:
    """For whoever serves it without PEFT: the same answers, from plain transformers.

    The files of the first family have the names of older libraries before `layers.`, the others those of their modules.
    """
    world = AdapterWorld(tmp_path, save_base(name, tmp_path))
    out, told = world.merge()
    assert told["checked"]["largest_difference"] < 1e-4 < told["checked"]["mean_effect"]
    base = AutoModelForImageTextToText.from_pretrained(world.model.base, dtype=torch.float32)
    tuned = text_logits(PeftModel.from_pretrained(base, world.adapter), Path(world.model.base))
    merged = text_logits(AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32), out)
    torch.testing.assert_close(merged, tuned, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_an_adapter_is_loaded_by_plain_peft(name: str, tmp_path: Path) -> None:
    """With nothing of this package, by the names in its own files; its logits are those that scoring computes with."""
    world = AdapterWorld(tmp_path, ROOT / "assets" / name)
    base = AutoModelForImageTextToText.from_pretrained(world.model.base, dtype=torch.float32)
    plain = text_logits(base, Path(world.model.base))
    loaded = PeftModel.from_pretrained(base, world.adapter)
    tuned = text_logits(loaded, Path(world.model.base))
    by_hand = AutoModelForImageTextToText.from_pretrained(world.model.base, dtype=torch.float32)
    saved = load_file(world.adapter / "adapter_model.safetensors")
    with torch.no_grad():
        for key in (key for key in saved if key.endswith("lora_A.weight")):
            module = by_hand.get_submodule(key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"))
            module.weight += 2 * saved[key.replace("lora_A", "lora_B")] @ saved[key]  # alpha / r
    torch.testing.assert_close(tuned, text_logits(by_hand, Path(world.model.base)), atol=1e-4, rtol=1e-4)
    assert (tuned - plain).abs().max() > 1e-3


def test_a_checkpoint_has_16_bits_and_rounding_is_told(world: AdapterWorld) -> None:
    out, told = world.merge("auto")
    assert told["dtype"] == "float16", "the type of the base's own files"
    assert 0 < told["checked"]["largest_difference"] < told["checked"]["bound"]
    tensors = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["dtype"] == "float16"
    assert told["bytes"] == sum(tensor.nbytes for tensor in tensors.values())
    names = {path.name for path in (ROOT / "assets" / SHIPPED[0]).iterdir() if path.suffix in (".json", ".jinja")}
    assert names <= {path.name for path in out.iterdir()}, "no program could ask it anything"


def test_a_base_with_32_bits_becomes_bfloat16(tmp_path: Path) -> None:
    world = AdapterWorld(tmp_path, scoring_world.save_base(tmp_path / "base"), size=0.5)
    out, told = world.merge("auto")
    assert told["dtype"] == "bfloat16"
    assert 1e-4 < told["checked"]["largest_difference"] < told["checked"]["bound"]
    assert AutoModelForImageTextToText.from_pretrained(out).dtype == torch.bfloat16


def test_large_weights_become_several_files(world: AdapterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds one of them at a time."""
    monkeypatch.setattr(merged_checkpoint, "SHARD_BYTES", 10**6)
    out, told = world.merge()
    index = json.loads((out / "model.safetensors.index.json").read_text(encoding="utf-8"))
    files = sorted(path.name for path in out.glob("*.safetensors"))
    assert len(files) > 2 and set(index["weight_map"].values()) == set(files)
    assert told["checked"]["largest_difference"] < 1e-4


def test_a_merge_that_answers_otherwise_is_not_kept(world: AdapterWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong scaling, say: half of the adapter would be served, and nobody would see it."""
    whole = merged_checkpoint._merged

    def halved(stored, module, adapter, dtype, device):
        return whole(stored, module, replace(adapter, scaling=adapter.scaling / 2), dtype, device)

    monkeypatch.setattr(merged_checkpoint, "_merged", halved)
    with pytest.raises(UserError, match=r"log-probabilities differ by up to"):
        world.merge()
    assert not (world.folder / "merged" / "fold0").exists()


def test_an_adapter_of_another_base_is_refused(world: AdapterWorld, tmp_path: Path) -> None:
    random_qwen.model().save_pretrained(tmp_path / "other")
    random_qwen.processor().save_pretrained(tmp_path / "other")
    world.model = replace(world.model, base=str(tmp_path / "other"))
    with pytest.raises(UserError, match="Merge it with the base that it was trained on"):
        world.merge()


def test_what_lora_alone_does_not_hold_is_refused(world: AdapterWorld) -> None:
    """Whole saved modules or DoRA's magnitudes would be left out of the sum without a word."""
    config = world.adapter / "adapter_config.json"
    said = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(said | {"modules_to_save": ["lm_head"]}), encoding="utf-8")
    run = json.loads((world.adapter / "run.json").read_text(encoding="utf-8"))
    write_run(world.adapter, {key: run[key] for key in ("parity", "versions")})
    with pytest.raises(UserError, match="modules_to_save"):
        world.merge()


def logits(*rows: list[float]) -> np.ndarray:
    return np.array(rows)[:, None]


@pytest.mark.parametrize(
    ("merged", "problem"),
    [
        (logits([2.0, 0.0, -np.inf]), None),
        (logits([12.0, 10.0, -np.inf]), None),  # a shift of all is no difference
        (logits([1.6, 0.0, -np.inf]), "differ by up to"),
    ],
)
def test_a_difference_is_one_of_answers(merged: np.ndarray, problem: str | None) -> None:
    found = Difference.of(logits([0.0, 0.0, -np.inf]), logits([2.0, 0.0, -np.inf]), merged)
    assert (found.problem(0.1) or "")[:40].find(problem or "") >= 0 and (found.problem(0.1) is None) == (
        problem is None
    )


def test_an_effect_below_rounding_is_no_success() -> None:
    found = Difference.of(logits([2.0, 0.0]), logits([2.01, 0.0]), logits([2.0, 0.0]))
    assert "rounding moves" in (found.problem(0.5) or "")
