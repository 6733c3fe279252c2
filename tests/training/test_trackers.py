"""Curves go to the trackers that the configuration names; a missing package is reported before anything is computed."""

import sys
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vqaflow.runtime.errors import UserError
from vqaflow.training.trackers import require_installed, start_trackers


class Recorder(ModuleType):
    """Stands for an installed package: notes every call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **keywords: Any) -> "Recorder":
            self.calls.append((name, args, keywords))
            return self

        return call


def run(name: str, folder, first_step: int = 0, key: str = "0123456789abcdef") -> None:
    """Two steps of a training that tracks."""
    (tracker,) = start_trackers([name], folder, key, {"learning_rate": 0.1}, first_step)
    tracker.log({"loss": 0.5}, first_step + 1)
    tracker.log({"loss": 0.25}, first_step + 2)
    tracker.close()


def test_tensorboard_shows_a_resumed_run_as_one_curve(tmp_path) -> None:
    """What a killed run wrote after its checkpoint is not shown twice."""
    run("tensorboard", tmp_path)
    run("tensorboard", tmp_path, first_step=1)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.5), (3, 0.25)]


def test_another_training_of_a_fold_is_another_curve(tmp_path, monkeypatch) -> None:
    """The curves of two configurations would run into each other, or wandb would refuse the later one's steps."""
    run("tensorboard", tmp_path, first_step=4)
    run("tensorboard", tmp_path, key="another")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    package = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", package)
    for key in ("one", "one", "another"):
        run("wandb", tmp_path / "fold0", key=key)
    ids = [keywords["id"] for call, _, keywords in package.calls if call == "init"]
    assert ids == ["fold0-one", "fold0-one", "fold0-another"]


@pytest.mark.parametrize(("name", "closing"), [("wandb", "finish"), ("mlflow", "end_run")])
def test_other_trackers_get_the_same_figures(name, closing, tmp_path, monkeypatch) -> None:
    """The same switch serves them when they are installed."""
    package = Recorder(name)
    monkeypatch.setitem(sys.modules, name, package)
    run(name, tmp_path / "fold0")
    logged = [(args[0], keywords["step"]) for call, args, keywords in package.calls if call in ("log", "log_metrics")]
    assert logged == [({"loss": 0.5}, 1), ({"loss": 0.25}, 2)]
    assert package.calls[-1][0] == closing


def test_a_missing_package_is_told_with_a_cure(monkeypatch) -> None:
    """Not after hours of training."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"train\.trackers: mlflow is not installed.*pip install mlflow"):
        require_installed(["tensorboard", "mlflow"])
