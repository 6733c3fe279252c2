"""Checkpoints of a training run: everything that the next step depends on, written atomically, ignored when stale."""

import random
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.stage import log

NAME = "checkpoint.pt"


def save_checkpoint(folder: Path, key: str, state: dict[str, Any]) -> None:
    """Write `state` under `folder`; `key` says for which run (configuration, rows, code) it is valid."""
    with atomic_path(folder / NAME) as partial:
        torch.save({"key": key, "state": state, "random": random_state()}, partial)


def load_checkpoint(folder: Path, key: str, like: dict[str, Any]) -> dict[str, Any] | None:
    """The last saved state of the run `key`, or None; also sets the random generators as they were saved.

    `like` is the state before the first step: one with other entries, kinds of values or shapes is not taken.
    """
    file = folder / NAME
    if not file.is_file():
        return None
    try:
        require_whole(file)
        saved = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; a lost checkpoint costs time, not results
        log.warning("%s: cannot be read (%s); training starts from scratch", file, type(error).__name__)
        return None
    if not isinstance(saved, dict) or not isinstance(saved.get("key"), str):
        log.warning("%s: is not a checkpoint; training starts from scratch", file)
        return None
    if saved["key"] != key:
        log.info("%s: belongs to another configuration, data or code; training starts from scratch", file)
        return None
    if not is_alike(saved, {"key": key, "state": like, "random": random_state()}):
        log.warning("%s: does not hold what a checkpoint of this training holds; training starts from scratch", file)
        return None
    set_random_state(saved["random"])
    return saved["state"]


def is_alike(found: object, like: object) -> bool:
    """Whether what was read back has the entries, the kinds of values and the shapes of `like`.

    What `like` does not have yet (None, or an empty container) may hold anything that torch.load lets through.
    """
    if like is None:
        return True
    if isinstance(like, torch.Tensor):
        return isinstance(found, torch.Tensor) and (found.shape, found.dtype) == (like.shape, like.dtype)
    if isinstance(like, dict):
        alike = isinstance(found, dict) and (not like or found.keys() == like.keys())
        return alike and all(is_alike(found[name], value) for name, value in like.items())
    if isinstance(like, list | tuple):
        alike = isinstance(found, list | tuple) and (not like or len(found) == len(like))
        return alike and all(map(is_alike, found, like)) if like else alike
    if isinstance(like, int | float):
        return isinstance(found, int | float)
    return isinstance(found, type(like))


def require_whole(file: Path) -> None:
    """Raise BadZipFile if a checkpoint is not as it was written: torch.load does not look at its checksums."""
    with zipfile.ZipFile(file) as archive:
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(damaged)


def random_state() -> dict[str, Any]:
    """The states of all generators that training draws from, as tensors and plain values."""
    version, numbers, gauss = random.getstate()
    kind, keys, at, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), at, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,  # of the job's only GPU
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set all generators to what `random_state` returned."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, at, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), at, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])


class StopRequest:
    """Whether SIGTERM or SIGINT has arrived; a second one ends the process at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self, number: int, frame: object) -> None:
        """Record the signal; the running step can then finish and be saved."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request; the training loop stops after its next checkpoint."""
    request = StopRequest()
    old = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
