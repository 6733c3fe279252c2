"""Experiment trackers behind one switch, `train.trackers`: TensorBoard, and wandb or MLflow where installed."""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # they only record a training
PACKAGES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
PROJECT = "vqaflow"


class Tracker(Protocol):
    """Receives figures while a training runs."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Record figures after a step."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Event files under `folder`; later steps of a killed run or an earlier training are replaced."""

    def __init__(self, module: Any, folder: Path, key: str, settings: Mapping[str, Any], first_step: int) -> None:
        self.writer = module.SummaryWriter(str(folder), purge_step=first_step + 1)
        self.writer.add_text("settings", str(dict(settings)))

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Record figures after a step."""
        for name, value in figures.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()


class Wandb:
    """One wandb run per training, continued after a resume; offline unless the user has logged in."""

    def __init__(self, module: Any, folder: Path, key: str, settings: Mapping[str, Any], first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = {"project": PROJECT, "name": folder.name, "id": f"{folder.name}-{key[:12]}", "resume": "allow"}
        self.run = module.init(dir=str(folder), config=dict(settings), **name)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Record figures after a step."""
        self.run.log(dict(figures), step=step)

    def close(self) -> None:
        """Write what is still in memory."""
        self.run.finish()


class MLflow:
    """One MLflow run in the project's experiment, stored where MLFLOW_TRACKING_URI points."""

    def __init__(self, module: Any, folder: Path, key: str, settings: Mapping[str, Any], first_step: int) -> None:
        self.module = module
        module.set_experiment(PROJECT)
        module.start_run(run_name=folder.name)
        module.log_params({name: str(value) for name, value in settings.items()})

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Record figures after a step."""
        self.module.log_metrics(dict(figures), step=step)

    def close(self) -> None:
        """Write what is still in memory."""
        self.module.end_run()


KINDS: dict[str, Callable[..., Tracker]] = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": MLflow}


def require_installed(names: Sequence[str]) -> None:
    """Raise UserError if a tracker's package is missing, before anything is computed."""
    for name in names:
        _module(name)


def start_trackers(
    names: Sequence[str], folder: Path, key: str, settings: Mapping[str, Any], first_step: int
) -> list[Tracker]:
    """Start the trackers of one adapter's training, which continues after `first_step`; `key` identifies it."""
    return [KINDS[name](_module(name), folder, key, settings, first_step) for name in names]


def _module(name: str) -> Any:
    try:
        return importlib.import_module(PACKAGES[name])
    except ImportError:
        raise UserError(
            f"config train.trackers: {name} is not installed here. Install it (pip install {name}) or leave it out."
        ) from None


@contextmanager
def dropped_if_failing(trackers: dict[str, Tracker], name: str) -> Iterator[Tracker]:
    """Remove a failing tracker from `trackers`, with a warning: its curves are worth less than the training."""
    try:
        yield trackers[name]
    except Exception as error:  # of packages, servers and disks of any kind
        del trackers[name]
        log.warning(
            "train.trackers: %s failed and gets no more figures; training continues (%s: %s). Check its login, its "
            "server and the disk, or remove it from train.trackers; log.csv has the figures of each validation.",
            name,
            type(error).__name__,
            error,
        )
