"""Scoring stops when it would not do what training did, and says which field differs."""

import json
import logging
from copy import copy
from pathlib import Path

import pytest

import scoring_world
from vqaflow.model import parity
from vqaflow.model.base import Base, load_base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.parity import check_parity
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.score_choices import score_choices


class Setting:
    """What scoring would use, and a folder for changed copies of the adapter's run.json."""

    folder: Path

    def __init__(self, world: scoring_world.ScoringWorld) -> None:
        task = world.arguments()["task"]
        self.model, self.prompt = task.model, task.prompt
        self.base: Base = load_base(self.model)
        self.encoder = RowEncoder(self.base.processor, self.model, self.prompt, choices=4)
        self.run = json.loads((world.adapter / "run.json").read_text(encoding="utf-8"))

    def check(self, **changes: object) -> None:
        """Compare with the run.json after `changes` of it."""
        (self.folder / "run.json").write_text(json.dumps(self.run | changes), encoding="utf-8")
        check_parity(self.folder, self.base, self.encoder, self.model, self.prompt)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> scoring_world.ScoringWorld:
    """A base and an adapter that was trained on it."""
    return scoring_world.ScoringWorld(tmp_path_factory.mktemp("world"), count=2)


@pytest.fixture(scope="module")
def loaded(world) -> Setting:
    """A base and an encoder for all tests of the module."""
    return Setting(world)


@pytest.fixture
def setting(loaded, tmp_path) -> Setting:
    """The same with a new folder."""
    setting = copy(loaded)
    setting.folder = tmp_path
    return setting


@pytest.fixture
def warnings(monkeypatch, caplog) -> pytest.LogCaptureFixture:
    """Log lines, which the package keeps from the root logger."""
    monkeypatch.setattr(parity.log, "propagate", True)
    caplog.set_level(logging.WARNING, "vqaflow")
    return caplog


def test_the_same_conditions_pass_without_a_word(setting, warnings) -> None:
    """Every honest run goes through this check."""
    setting.check()
    assert not warnings.messages


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base", "0" * 64),
        ("min_pixels", 784),
        ("max_pixels", 12845056),
        ("prompt", "0" * 64),
        ("processor", "OtherProcessor"),
        ("image_processor", "Qwen2VLImageProcessorPil"),
        ("letter_tokens", [1, 2, 3, 4]),
    ],
)
def test_a_field_that_differs_stops_and_is_named(setting, field, value) -> None:
    """A silent mismatch costs points that no one finds again."""
    with pytest.raises(UserError, match=rf"run\.json: {field}: .*train the adapter again"):
        setting.check(parity=setting.run["parity"] | {field: value})
    lacking = {key: value for key, value in setting.run["parity"].items() if key != field}
    with pytest.raises(UserError, match=rf"run\.json: {field}: .*None"):
        setting.check(parity=lacking)


def test_a_branch_of_the_hub_that_moved_is_named(setting, monkeypatch) -> None:
    """`revision: null` means main: the same name, other weights. A folder, and older runs, have no commit."""
    trained = setting.run["parity"]
    assert "commit" not in trained
    setting.check(parity=trained | {"commit": "a" * 40})
    monkeypatch.setattr(setting.base.network.config, "_commit_hash", "b" * 40, raising=False)
    setting.check(parity=trained)
    setting.check(parity=trained | {"commit": "b" * 40})
    with pytest.raises(UserError, match=rf"run\.json: commit: .* Set model\.revision to {'a' * 40}, or train the"):
        setting.check(parity=trained | {"commit": "a" * 40})
    fields = parity.parity(setting.base, setting.encoder, setting.model, setting.prompt)
    assert fields == trained | {"commit": "b" * 40}


def test_every_field_that_is_written_is_compared(setting) -> None:
    """A field added to run.json alone would look enforced and not be."""
    assert set(setting.run["parity"]) == set(parity.CURES)


@pytest.mark.parametrize(("package", "version"), [("transformers", "4.57.1"), ("qwen-vl-utils", "0.0.8")])
def test_another_minor_release_of_what_makes_the_inputs_stops(setting, package, version) -> None:
    """Minor releases of these have changed pixels and positions without a word."""
    with pytest.raises(UserError, match=rf"versions\.{package}: .*{version}.*Install {package}=="):
        setting.check(versions=setting.run["versions"] | {package: version})


@pytest.mark.parametrize(
    ("package", "version"), [("torch", "2.1.0"), ("peft", "0.1"), ("python", "3.9.0"), ("transformers", "PATCH")]
)
def test_other_versions_are_only_logged(setting, warnings, package, version) -> None:
    """They round differently; an adapter from another machine must stay usable."""
    version = version.replace("PATCH", ".".join([*setting.run["versions"]["transformers"].split(".")[:2], "99"]))
    setting.check(versions=setting.run["versions"] | {package: version})
    assert [f"trained with {package} {version}" in message for message in warnings.messages] == [True]


def test_another_precision_is_only_logged(setting, warnings) -> None:
    """Training on a quantised base and scoring on the unquantised one is common, and worth knowing."""
    setting.check(dtype="float16", quantization="nf4")
    assert len(warnings.messages) == 2 and "quantization nf4, scored with none" in warnings.text


@pytest.mark.parametrize(("content", "said"), [(None, "missing"), ("{", "damaged"), ("{}", "has no"), ("[]", "has no")])
def test_without_a_run_json_nothing_is_scored(setting, content, said) -> None:
    """Nobody could know what such an adapter was trained on."""
    file = setting.folder / "run.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=said):
        check_parity(setting.folder, setting.base, setting.encoder, setting.model, setting.prompt)


def test_the_stage_stops_before_it_scores(world, tmp_path) -> None:
    """One changed pixel limit in the config, and no file of scores appears."""
    model = world.model | {"max_pixels": 112 * 112}
    arguments = world.arguments(out=tmp_path / "scores.parquet", work=tmp_path / "work", model=model)
    with pytest.raises(UserError, match="max_pixels: the adapter was trained with 19600, scoring would use 12544"):
        score_choices(**arguments)
    assert not (tmp_path / "scores.parquet").exists()
