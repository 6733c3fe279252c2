"""What adapters say that the demo trains with one option after the other: log-probabilities, kept on disk.

Each option is trained with each seed in every fold, in as many processes as asked for. A training that is kept is not
repeated, so that a measurement that was stopped goes on, and can be judged again without a GPU.

Shapes: N held-out rows, T test rows, V views (original, mirrored), C choices.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, probability_columns
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.parts import ALL
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.runtime.files import atomic_path

FOLDER = "options"  # under results/work
DEFAULT, STRONGER = "default", "stronger base"


@dataclass(frozen=True)
class Option:
    """What differs from the demo's configuration: keys of `train`, the base, the option that teaches, or a refit.

    A refit adds one adapter on all rows to the folds of the default, as `refit: true` does.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    teacher: str | None = None
    refit: bool = False


MIRROR = {"augment": {"mirror": True}}
OPTIONS: Mapping[str, Option] = {
    STRONGER: Option(base="assets/tiny-qwen3-vl"),
    DEFAULT: Option(),
    "LoRA+ 4": Option({"loraplus_lr_ratio": 4}),
    "LoRA+ 16, rate / 4": Option({"loraplus_lr_ratio": 16, "learning_rate": 0.00075}),
    "mirror": Option(MIRROR),
    "soft labels": Option(teacher=STRONGER),
    "soft labels of itself": Option(teacher=DEFAULT),
    "mirror, soft labels": Option(MIRROR, teacher=STRONGER),
    "refit": Option(refit=True),
    "mirror, LoRA+ 4": Option(MIRROR | {"loraplus_lr_ratio": 4}),
    "mirror, 12 epochs": Option(MIRROR | {"epochs": 12}),
    "12 epochs": Option({"epochs": 12}),
}


@dataclass(frozen=True)
class Run:
    """One training: an option, a seed, and a fold or ALL."""

    option: str
    seed: int
    part: str


@dataclass(frozen=True)
class Said:
    """What one adapter says of held-out rows (V, N, C) and test rows (V, T, C); NaN where mirroring is unsafe."""

    ids_N: np.ndarray
    held_out_VNC: np.ndarray
    test_VTC: np.ndarray


def runs_of(options: Sequence[str], seeds: Sequence[int], folds: int) -> list[Run]:
    """All trainings of some options, teachers included, seed by seed."""
    named = dict.fromkeys(name for option in options for name in (OPTIONS[option].teacher, option) if name)
    return [
        Run(name, seed, part)
        for name in sorted(named, key=list(OPTIONS).index)
        for seed in seeds
        for part in ([ALL] if OPTIONS[name].refit else map(str, range(folds)))
    ]


def scores_file(at: ResultsFolder, run: Run) -> Path:
    """Where the scores of a training are kept."""
    return folder_of(at, run.option, run.seed) / f"{run.part}.npz"


def folder_of(at: ResultsFolder, option: str, seed: int) -> Path:
    """The folder of an option and a seed."""
    name = "".join(letter if letter.isalnum() else "-" for letter in option)
    return at.folder / "work" / FOLDER / f"{name}-{seed}"


def read_said(at: ResultsFolder, run: Run) -> Said:
    """What an adapter said."""
    with np.load(scores_file(at, run), allow_pickle=False) as kept:
        return Said(**kept)


def train_all(config: Mapping[str, Any], at: ResultsFolder, runs: Sequence[Run], jobs: int) -> None:
    """Train what is not kept, `jobs` at a time; a teacher's trainings come before those that learn from it."""
    waiting = [run for run in runs if not scores_file(at, run).is_file()]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        busy: set[Future[None]] = set()
        while waiting or busy:
            ready = [run for run in waiting if is_ready(at, run, runs)]
            busy |= {pool.submit(train_one, config, at, run) for run in ready}
            waiting = [run for run in waiting if run not in ready]
            done, busy = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()


def is_ready(at: ResultsFolder, run: Run, runs: Sequence[Run]) -> bool:
    """Whether a training can start; the file of what its teacher says is written if it can."""
    teacher = OPTIONS[run.option].teacher
    if teacher is None or teacher_file(at, teacher, run.seed).is_file():
        return True
    of_teacher = [one for one in runs if (one.option, one.seed) == (teacher, run.seed)]
    if not all(scores_file(at, one).is_file() for one in of_teacher):
        return False
    write_teacher(at, teacher, run.seed, [read_said(at, one) for one in of_teacher])
    return True


def teacher_file(at: ResultsFolder, option: str, seed: int) -> Path:
    """The OOF probabilities of an option, as pool_member writes them."""
    return folder_of(at, option, seed) / "oof.parquet"


def write_teacher(at: ResultsFolder, option: str, seed: int, folds: Sequence[Said]) -> None:
    """Write the mean over the views of what the folds' adapters say of the rows that they held out."""
    p_NC = np.concatenate([np.nanmean(np.exp(said.held_out_VNC.astype(np.float64)), axis=0) for said in folds])
    names = probability_columns(ALL_LETTERS[: p_NC.shape[1]])
    named = dict(zip(names, (p_NC / p_NC.sum(1, keepdims=True)).T, strict=True))
    with atomic_path(teacher_file(at, option, seed)) as partial:
        write_parquet(pd.DataFrame({"id": np.concatenate([said.ids_N for said in folds])} | named), partial)


def train_one(config: Mapping[str, Any], at: ResultsFolder, run: Run) -> None:
    """Train one adapter, score its held-out rows and the test rows, and keep the scores."""
    from vqaflow.demo.trainings import open_training  # torch, which must see the leased GPU only
    from vqaflow.training.checkpoints import stop_on_signals

    option, work = OPTIONS[run.option], folder_of(at, run.option, run.seed) / f"work-{run.part}"
    base = option.base or config["model"]["base"]
    epochs = option.train.get("epochs", config["train"]["epochs"])
    teacher = teacher_file(at, option.teacher, run.seed) if option.teacher else None
    fold = None if run.part == ALL else int(run.part)
    opened = open_training(config, at, base, fold, run.seed, teacher, **{**option.train, "validate_every": epochs})
    with stop_on_signals() as stop:
        opened.trainer.run(work, "options", stop)
    held_out_VNC = np.stack(list(in_views(opened.trainer, opened.held_out)))
    test_VTC = np.stack(list(in_views(opened.trainer, opened.tests)))
    with atomic_path(scores_file(at, run)) as partial, partial.open("wb") as file:
        ids_N = np.array([row.id for row in opened.held_out], dtype=str)
        np.savez_compressed(file, ids_N=ids_N, held_out_VNC=held_out_VNC, test_VTC=test_VTC)
    shutil.rmtree(work, ignore_errors=True)


def in_views(trainer: Any, rows: Sequence[Any]) -> Iterator[np.ndarray]:
    """Log-probabilities (rows, C) of the images as they are, then mirrored; NaN where this is unsafe."""
    from vqaflow.demo.trainings import logp_of

    if not rows:
        yield from np.empty((2, 0, len(trainer.rows[0].choices)), np.float32)
        return
    yield (plain := logp_of(trainer, rows))
    safe_N = np.array([not row.flip_unsafe for row in rows])
    turned = np.full_like(plain, np.nan)
    turned[safe_N] = logp_of(trainer, [replace(row, mirrored=True) for row in rows if not row.flip_unsafe])
    yield turned
