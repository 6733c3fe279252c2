"""A quantised base is made once, is read with the same numbers, and is made again when it is damaged."""

import json
import threading
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

import rows
import scoring_world
from vqaflow.config.sections import BaseConfig, ModelConfig, entries
from vqaflow.model import base_digest as base_files
from vqaflow.model import store_base as stage_module
from vqaflow.model import stored_base
from vqaflow.model.base import Base
from vqaflow.model.decoder.fused_decoder import FusedDecoder
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import current_umask

CPU = torch.device("cpu")
AUTO = {"quantization": "auto", "compute_dtype": "auto"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> ModelConfig:
    """A random base on disk, to be quantised."""
    folder = scoring_world.save_base(tmp_path_factory.mktemp("base"))
    return rows.model_config(base=str(folder), quantization="nf4")


@pytest.fixture
def loads(monkeypatch) -> list[Path | None]:
    """Where each load took its weights from: a folder of the store, or None for the checkpoint itself."""
    seen: list[Path | None] = []
    real = stored_base.load_base

    def noted(model: ModelConfig, device: torch.device, stored: Path | None = None, devices: int = 1) -> Base:
        seen.append(stored)
        return real(model, device, stored, devices)

    monkeypatch.setattr(stored_base, "load_base", noted)
    return seen


@pytest.fixture
def no_gpu(monkeypatch) -> None:
    """Wherever the tests run."""
    for module in (stage_module, stored_base):
        monkeypatch.setattr(module, "best_device", lambda: CPU)


def weights(base: Base) -> list[torch.Tensor]:
    """All weights as the decoder multiplies with them, and the tower's and the embeddings'."""
    decoder = FusedDecoder(base)
    expanded = [p.weight(torch.empty(1)) for a, m in decoder.layers for p in (a.qkv, a.out, m.gate_up, m.down)]
    assert all(p.quantized for a, m in decoder.layers for p in (a.qkv, a.out, m.gate_up, m.down))
    return [*expanded, *base.visual.parameters(), base.network.lm_head.weight, decoder.embedding.weight]


def test_a_stored_base_has_the_numbers_of_a_quantised_one(model, loads, tmp_path) -> None:
    """Every later job computes with the same weights as the first."""
    first = stored_base.open_base(model, tmp_path, CPU)
    again = stored_base.open_base(model, tmp_path, CPU)
    assert loads[0] is None and loads[1].parent == tmp_path
    for ours, theirs in zip(weights(again), weights(first), strict=True):
        assert torch.equal(ours, theirs)
    assert not any(weight.requires_grad for weight in again.network.parameters())


def test_the_rule_spares_every_job_the_quantising(model, loads, no_gpu, tmp_path) -> None:
    """Otherwise each fold, view and trial would read the whole checkpoint; the output names the folder they read."""
    bases, out = tmp_path / "base", tmp_path / "base.json"
    settings = entries(BaseConfig, asdict(model))
    stage_module.store_base(settings, bases, out)
    written = out.read_bytes()
    folder = bases / json.loads(written)["folder"]
    assert stored_base.is_whole(folder)
    stage_module.store_base(settings, bases, out)
    assert out.read_bytes() == written
    stored_base.open_base(model, bases)
    assert loads == [None, folder], "quantised once, and not loaded to find out that it is there"


def test_the_rule_says_that_nothing_is_quantised_here(model, loads, no_gpu, tmp_path) -> None:
    """`auto` without a GPU: a folder of quantised weights would waste disk space."""
    out = tmp_path / "base.json"
    stage_module.store_base({"base": model.base, "revision": None} | AUTO, tmp_path / "base", out)
    assert json.loads(out.read_text()) == {
        "base": model.base,
        "quantization": "none",
        "compute_dtype": "torch.float32",
        "folder": None,
    }
    assert not (tmp_path / "base").exists() and not loads


def test_a_damaged_stored_base_is_made_again(model, loads, tmp_path) -> None:
    """A copy that lost bytes must not be scored with."""
    stored_base.open_base(model, tmp_path, CPU)
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    file = max(folder.iterdir(), key=lambda p: p.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1])
    stored_base.open_base(model, tmp_path, CPU)
    assert loads == [None, None]
    assert stored_base.is_whole(folder)


def test_other_content_or_precision_is_another_base(model, tmp_path) -> None:
    """Weights changed under the same path must not be mistaken for the quantised ones."""
    here = rows.model_config(base=str(scoring_world.save_base(tmp_path)))
    name = stored_base.stored_name(here, torch.float16)
    assert stored_base.stored_name(model, torch.float16) == name, "the same weights at another path are the same base"
    assert stored_base.stored_name(here, torch.bfloat16) != name
    scoring_world.save_base(tmp_path, seed=5)
    assert stored_base.stored_name(here, torch.float16) != name


@pytest.mark.parametrize("package", ["transformers", "bitsandbytes"])
def test_another_version_of_what_quantises_makes_another_base(model, package, monkeypatch) -> None:
    """It has other names of weights; the whole checkpoint was then said to lack some, and to be downloaded again."""
    name, found = stored_base.stored_name(model, torch.float16), stored_base.package_versions()
    monkeypatch.setattr(stored_base, "package_versions", lambda: found | {package: "0.1"})
    assert stored_base.stored_name(model, torch.float16) != name


def test_every_tensor_of_a_large_checkpoint_changes_its_digest(tmp_path, monkeypatch) -> None:
    """A LoRA merged into a base, under its old path, leaves the file's size, start and end as they were."""
    monkeypatch.setattr(base_files, "WHOLE_FILE_BYTES", 1000)
    drawn = torch.Generator().manual_seed(1)
    tensors = {f"layers.{i}.weight": torch.randn(300, 40, generator=drawn) for i in range(6)}
    tensors["norm.weight"] = torch.randn(7, generator=drawn)
    seen = set()
    for changed in (None, *tensors):
        shifted = {name: value + 1e-3 * (name == changed) for name, value in tensors.items()}
        save_file(shifted, tmp_path / "model.safetensors")
        seen.add(base_files.base_digest(rows.model_config(base=str(tmp_path))))
    assert len(seen) == 8


def test_the_digest_covers_older_checkpoints_too(tmp_path) -> None:
    """pytorch_model.bin holds the weights where there is no safetensors file."""
    digests = set()
    for content in (b"one", b"two"):
        (tmp_path / "pytorch_model.bin").write_bytes(content)
        digests.add(base_files.base_digest(rows.model_config(base=str(tmp_path))))
    assert len(digests) == 2


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_checkpoint_that_cannot_be_used_is_named_with_its_cure(model, tmp_path, quantization) -> None:
    """An interrupted download, and a base that is already quantised."""
    folder = scoring_world.save_base(tmp_path / "base")
    settings = rows.model_config(base=str(folder), quantization=quantization)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"config model\.base: cannot load"):
        stored_base.open_base(settings, tmp_path / "bases", CPU)
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    quantized = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantized}))
    with pytest.raises(UserError, match=r"is already quantised\. Give the checkpoint that it was made from"):
        stored_base.open_base(settings, tmp_path / "bases", CPU)


def test_others_may_read_what_is_stored(model, tmp_path) -> None:
    """On a cluster's shared disk: the library lets only the owner read weights."""
    stored_base.open_base(model, tmp_path, CPU)
    (folder,) = (p for p in tmp_path.iterdir() if p.is_dir())
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666 & ~current_umask()}


def test_jobs_that_start_together_quantise_once(model, loads, tmp_path, monkeypatch) -> None:
    """Otherwise two folds on two GPUs would both read the whole checkpoint."""
    # While it loads, the library replaces this method; with threads in the place of jobs, it may not put it back.
    monkeypatch.setattr(PreTrainedModel, "tie_weights", PreTrainedModel.tie_weights)
    jobs = [threading.Thread(target=stored_base.open_base, args=(model, tmp_path, CPU)) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sorted(stored is None for stored in loads) == [False, False, True]


def test_an_unquantised_base_takes_no_disk(model, tmp_path) -> None:
    """The demo on a CPU, and large cards with model.quantization none, read the checkpoint as it is."""
    plain = rows.model_config(base=model.base, quantization="none")
    assert stored_base.open_base(plain, tmp_path, CPU).quantization == "none"
    assert not list(tmp_path.iterdir())


def test_a_full_disk_costs_time_but_no_result(model, tmp_path, monkeypatch) -> None:
    """The job continues with the base that it has quantised."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_base, "write_manifest", full)
    assert stored_base.open_base(model, tmp_path, CPU).quantization == "nf4"
    assert not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_a_file_system_without_locks_is_named_with_its_cure(model, loads, tmp_path, monkeypatch) -> None:
    """On Lustre without the option flock, the user would see an unexpected error without a cure."""

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"\.lock: its file system has no locks .*jobs that share it.* option flock"):
        stored_base.open_base(model, tmp_path, CPU)
    assert not loads, "what cannot be saved for other jobs must not be read for minutes first"
