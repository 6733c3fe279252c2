"""Searches of made-up objectives, and workers in processes of their own."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from places import ROOT
from vqaflow.config.sections import HpoConfig
from vqaflow.search.search_hyperparameters import search_hyperparameters
from vqaflow.search.shares import step_of
from vqaflow.search.space import Report, read_space
from vqaflow.search.study import SharedStudy
from vqaflow.search.worker import work_off
from vqaflow.training.checkpoints import StopRequest

SPACE = {
    "learning_rate": {"log_range": [1e-5, 1e-2]},
    "lora.r": {"choice": [8, 16, 32]},
    "warmup_ratio": {"range": [0.0, 0.2]},
    "lora.targets": {"choice": [["q_proj"], ["q_proj", "v_proj"]]},
}


ROWS = 400


WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from search_world import open_study, slow
from vqaflow.training.checkpoints import stop_on_signals
from vqaflow.search.worker import work_off
with stop_on_signals() as request:
    study = open_study(Path(sys.argv[1]), sys.argv[2], trials=int(sys.argv[3]))
    work_off(study, slow(float(sys.argv[4])), request)
"""


def settings(**changes: Any) -> HpoConfig:
    """A search of six trials."""
    values = {"trials": 6, "max_minutes": 0, "seed": 1, "folds": (0,), "subset": 0.5, "pruner": "none", "space": SPACE}
    return HpoConfig(**(values | changes))


def open_study(folder: Path, worker: str = "worker0", start: dict | None = None, **changes: Any) -> SharedStudy:
    """The study of `settings` in `folder`."""
    hpo = settings(**changes)
    search = {"seed": hpo.seed, "subset": hpo.subset}
    identity = {"space": SPACE, "search": search, "precision": {"device": "cpu", "dtype": "float32"}}
    return SharedStudy(folder, identity, read_space(hpo.space), start, hpo, validations=3, worker=worker)


def accuracy(parameters: Mapping[str, Any]) -> float:
    """A function with its best learning rate at 1e-3."""
    return 0.9 - 0.1 * abs(math.log10(parameters["learning_rate"]) + 3) - 0.2 * parameters["warmup_ratio"]


def right(parameters: Mapping[str, Any]) -> list[float]:
    """Rows of which so many are right."""
    count = round(accuracy(parameters) * ROWS)
    return [1.0] * count + [0.0] * (ROWS - count)


def quick(parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[list[float]]:
    """An objective that reports three times."""
    for step in (1, 2, 3):
        report(step_of(0, step / 3), accuracy(parameters) * step / 3)
    return [right(parameters)]


def slow(seconds: float) -> Callable[..., list[list[float]]]:
    """The same, in several steps of so many seconds, that ends in order when asked to."""

    def objective(parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[list[float]]:
        for step in (1, 2, 3):
            time.sleep(seconds)
            report(step_of(0, step / 3), accuracy(parameters) * step / 3)
            if stop.signal:
                raise SystemExit(128 + stop.signal)
        return [right(parameters)]

    return objective


def start_worker(folder: Path, name: str, trials: int, seconds: float) -> subprocess.Popen:
    """A worker in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts")}
    code = WORKER.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, folder, name, str(trials), str(seconds)]
    return subprocess.Popen([str(part) for part in command], env=environment, stderr=subprocess.PIPE, text=True)


SAW = [{"fold": 0, "training_rows": 320, "of": 800, "held_out_rows": 400}]


START = {"learning_rate": 1e-3, "lora.r": 16, "warmup_ratio": 0.1, "lora.targets": '["q_proj", "v_proj"]'}


FIGURES = ("history", "importance", "parallel_coordinates", "slice")


def search(folder: Path, objective: Any = quick, start: dict | None = None, **changes: Any) -> SharedStudy:
    """A finished search in `folder`, with its worker's file."""
    study = open_study(folder, start=start, **changes)
    study.study.set_user_attr("saw", SAW)
    study.study.set_user_attr("groups", [list(range(ROWS))])
    work_off(study, objective, StopRequest())
    told = {"study": study.name, "trials": study.finished_here()}
    (folder / "worker0.json").write_text(json.dumps(told), encoding="utf-8")
    return study


def choose(folder: Path, out: str = "out", trials: int = 6) -> dict[str, Any]:
    """Run the stage on it; returns the content of best.yaml."""
    search_hyperparameters(
        workers=[folder / "worker0.json"],
        work=folder,
        trials=trials,
        best_out=folder / out / "best.yaml",
        study_out=folder / out / "study.db",
        figures_out=folder / out / "figures",
    )
    return yaml.safe_load((folder / out / "best.yaml").read_text(encoding="utf-8"))
