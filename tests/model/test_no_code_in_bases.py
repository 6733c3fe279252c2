"""A base, an adapter or a checkpoint that brings code or pickles: it is not run, and the message says what to do."""

import json
import logging
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import random_families
import rows
from vqaflow.artifacts.adapter_files import adapter_config
from vqaflow.config.sections import BaseConfig
from vqaflow.model.base import load_base
from vqaflow.model.checkpoint import base_problems
from vqaflow.model.hub import source_of, unpinned
from vqaflow.runtime.errors import UserError
from vqaflow.training.checkpoints import NAME, load_checkpoint, save_checkpoint

CURE = (
    "Use an edition with safetensors files; if you trust its source, convert it: load it with transformers elsewhere "
    "and call save_pretrained."
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Evil:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return random_families.save("qwen2_vl", tmp_path_factory.mktemp("whole") / "base")


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "base"))


def test_the_evil_object_is_evil(tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    pickle.loads(pickle.dumps(Evil(tmp_path / "mark")))
    assert (tmp_path / "mark").is_dir()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "m.pt"])
def test_a_base_of_pickles_is_refused(base: Path, name: str, tmp_path: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / name).write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    told = f"{base}: {name} is a pickle, which can run any code when it is opened. {CURE}"
    assert base_problems(str(base)) == [f"model.base: {told}"]
    with pytest.raises(UserError) as caught:
        load_base(rows.model_config(base=str(base)), torch.device("cpu"))
    assert str(caught.value) == f"config model.base: {told}"
    assert not (tmp_path / "mark").exists()


def test_an_index_that_names_pickles_is_refused(base: Path) -> None:
    """The library reads what the index names, whatever its own name says."""
    names = dict.fromkeys(load_file(base / "model.safetensors"), "pytorch_model-00001-of-00001.bin")
    (base / "model.safetensors").rename(base / "pytorch_model-00001-of-00001.bin")
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    [told] = base_problems(str(base))
    assert "names pytorch_model-00001-of-00001.bin, which is a pickle" in told


def test_a_pickle_beside_safetensors_is_not_opened(base: Path, tmp_path: Path) -> None:
    """Many published bases have both."""
    (base / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    load_base(rows.model_config(base=str(base)), torch.device("cpu"))
    assert not (tmp_path / "mark").exists()


AUTO_MAP = {
    "config.json": {"AutoConfig": "own.Own", "AutoModelForImageTextToText": "own.Own"},
    "tokenizer_config.json": {"AutoTokenizer": ["own.Own", "own.Own"], "AutoProcessor": "own.Own"},
    "processor_config.json": {"AutoProcessor": "own.Own"},
    "preprocessor_config.json": {"AutoImageProcessor": "own.Own", "AutoProcessor": "own.Own"},
}


@pytest.mark.parametrize("name", AUTO_MAP)
def test_code_that_comes_with_a_base_is_not_run(base: Path, name: str, tmp_path: Path) -> None:
    """Whichever file asks for it; a base of a known family is loaded by the library's own classes."""
    (base / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\nclass Own: pass\n")
    file = base / name
    told = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(told | {"auto_map": AUTO_MAP[name]}), encoding="utf-8")
    try:
        load_base(rows.model_config(base=str(base)), torch.device("cpu"))
    except UserError as error:
        assert str(error).startswith("config model.base: ")
    assert not (tmp_path / "mark").exists()


def test_a_kind_of_model_that_only_its_code_knows_is_refused(base: Path, tmp_path: Path) -> None:
    (base / "own.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\nclass Own: pass\n")
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own_kind", "auto_map": AUTO_MAP["config.json"]}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    [told] = base_problems(str(base))
    assert "code that comes with a checkpoint is not run" in told
    with pytest.raises(UserError):
        load_base(rows.model_config(base=str(base)), torch.device("cpu"))
    assert not (tmp_path / "mark").exists()


def test_a_chat_template_cannot_reach_python(base: Path, tmp_path: Path) -> None:
    """Templates are programs: they run in the sandbox of Jinja, here and in the library."""
    evil = f"{{{{ cycler.__init__.__globals__.os.mkdir({str(tmp_path / 'mark')!r}) }}}}"
    (base / "chat_template.jinja").write_text(evil, encoding="utf-8")
    from vqaflow.model.pipeline.parts import make_encoder

    model, prompt = rows.model_config(base=str(base)), rows.prompt_config()
    with pytest.raises(UserError, match="chat template"):
        make_encoder(load_base(model, torch.device("cpu")), model, prompt, 4)
    assert not (tmp_path / "mark").exists()


def test_an_adapter_of_pickles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    with pytest.raises(UserError) as caught:
        adapter_config(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: the adapter has no adapter_model.safetensors, only adapter_model.bin, a pickle, which can run "
        "any code when it is opened. Train it again (rule train_adapter)."
    )
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_with_code_is_not_run(tmp_path: Path, wrapped: bool, caplog) -> None:
    """results/work is written by training alone, but a results folder may come from elsewhere."""
    evil = {"key": "k", "state": Evil(tmp_path / "mark"), "random": {}}
    if wrapped:
        torch.save(evil, tmp_path / NAME)
    else:
        (tmp_path / NAME).write_bytes(pickle.dumps(evil))
    with caplog.at_level(logging.WARNING, "vqaflow"):
        assert load_checkpoint(tmp_path, "k", {}) is None
    assert not (tmp_path / "mark").exists()


LIKE = {"progress": {"step": 0, "history": [], "best": None}, "weights": {"a": torch.zeros(2, 3)}}
GOOD = {"progress": {"step": 4, "history": [{"loss": 1.0}], "best": {"a": 1.0}}, "weights": {"a": torch.ones(2, 3)}}


@pytest.mark.parametrize(
    "harm",
    [
        lambda whole: [whole],
        lambda whole: whole | {"key": ["k"]},
        lambda whole: whole | {"state": None},
        lambda whole: whole | {"state": GOOD | {"weights": [torch.ones(2, 3)]}},
        lambda whole: whole | {"state": GOOD | {"weights": {"b": torch.ones(2, 3)}}},
        lambda whole: whole | {"state": GOOD | {"weights": {"a": torch.ones(3, 2)}}},
        lambda whole: whole | {"state": GOOD | {"weights": {"a": torch.ones(2, 3).half()}}},
        lambda whole: whole | {"state": GOOD | {"progress": GOOD["progress"] | {"step": "4"}}},
        lambda whole: whole | {"state": GOOD | {"progress": GOOD["progress"] | {"history": {}}}},
        lambda whole: whole | {"state": GOOD | {"more": 1}},
        lambda whole: {name: value for name, value in whole.items() if name != "random"},
        lambda whole: whole | {"random": whole["random"] | {"torch": torch.zeros(3)}},
        lambda whole: whole | {"random": whole["random"] | {"python": [3, [1, 2], None]}},
    ],
)
def test_a_checkpoint_that_holds_other_things_is_not_taken(harm, tmp_path: Path, caplog) -> None:
    """It would end in a traceback in the middle of a night, or train on from another adapter's weights."""
    save_checkpoint(tmp_path, "k", GOOD)
    assert load_checkpoint(tmp_path, "k", LIKE)["progress"] == GOOD["progress"]
    whole = torch.load(tmp_path / NAME, weights_only=True)
    torch.save(harm(whole), tmp_path / NAME)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with caplog.at_level(logging.WARNING, "vqaflow"):
        assert load_checkpoint(tmp_path, "k", LIKE) is None
    assert "training starts from scratch" in caplog.text
    assert torch.equal(torch.get_rng_state(), before), "nor its random numbers"


def test_no_loader_may_run_code(whole: Path) -> None:
    assert source_of(BaseConfig(str(whole), None, "none", "float32"))["trust_remote_code"] is False


def test_a_hub_name_without_a_commit_is_told_with_the_commit(tmp_path: Path, whole: Path, monkeypatch) -> None:
    """Half of the folds trained on other weights than the rest, and nobody would know."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    told = unpinned(BaseConfig("some/name", None, "none", "float32"))
    assert told == (
        "model.base: some/name is read at revision main, which its owner can change: later jobs may get other weights. "
        "Set model.revision to the commit on its page on the hub (40 digits)."
    )
    repository = tmp_path / "models--some--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "v2").write_text(COMMIT)
    shutil.copytree(whole, repository / "snapshots" / COMMIT)
    told = unpinned(BaseConfig("some/name", "v2", "none", "float32"))
    assert told.startswith("model.base: some/name is read at revision v2, ")
    assert told.endswith(f"Set model.revision to {COMMIT}, the commit that this machine has.")
    assert unpinned(BaseConfig("some/name", COMMIT, "none", "float32")) is None
    assert unpinned(BaseConfig(str(whole), None, "none", "float32")) is None
