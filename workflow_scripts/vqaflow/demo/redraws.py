"""What the adapters of drawn demos (draws.py) say of all rows, after a training of each fold.

Scores are kept, so that a measurement that was stopped goes on, and can be judged again without a GPU.

Shapes: N training rows, T test rows, K folds, C choices.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.demo.trainings import logp_of, open_training, right_choices
from vqaflow.runtime.files import atomic_path
from vqaflow.training.checkpoints import stop_on_signals

FOLDER = "intervals"  # under results/work


@dataclass(frozen=True)
class Scores:
    """What the adapters of one drawn demo say: log-probabilities of OOF rows, and of test rows by each fold's adapter.

    `groups_N` are the groups that share a fold; answers are 0 to C-1.
    """

    oof_NC: np.ndarray
    answers_N: np.ndarray
    groups_N: np.ndarray
    test_KTC: np.ndarray
    answers_T: np.ndarray


def folder_of(at: ResultsFolder, seed: int) -> ResultsFolder:
    """The folder of the demo of `seed`."""
    return ResultsFolder(at.folder / "work" / FOLDER / f"seed{seed}")


def score_demo(config: Mapping[str, Any], at: ResultsFolder, base: str, seed: int) -> Scores:
    """Train every fold of the drawn demo of `seed` with `base`, and score all rows; kept in `scores_file`."""
    kept = scores_file(at, base, seed)
    if kept.is_file():
        return read_scores(kept)
    own = folder_of(at, seed)
    folds = read_table(own.folds, "make_folds").set_index("id")
    oof, answers, of_tests, right_T = {}, {}, [], np.empty(0, int)
    for fold in range(config["folds"]["n"]):
        opened = open_training(config, own, base, fold, seed, validate_every=config["train"]["epochs"])
        with stop_on_signals() as stop:
            opened.trainer.run(own.training_work(Path(base).name, fold), "intervals", stop)
        ids = [row.id for row in opened.held_out]
        oof |= dict(zip(ids, logp_of(opened.trainer, opened.held_out), strict=True))
        answers |= dict(zip(ids, right_choices(opened.held_out).tolist(), strict=True))
        of_tests.append(logp_of(opened.trainer, opened.tests))
        right_T = right_choices(opened.tests)
    groups_N = folds.loc[list(oof), "group"].to_numpy()
    answers_N = np.array(list(answers.values()))
    found = Scores(np.stack(list(oof.values())), answers_N, groups_N, np.stack(of_tests), right_T)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(kept) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **asdict(found))
    shutil.rmtree(own.training_work(Path(base).name, 0).parent, ignore_errors=True)
    return found


def scores_file(at: ResultsFolder, base: str, seed: int) -> Path:
    """Where the scores of a base and a seed are kept."""
    return at.folder / "work" / FOLDER / "scores" / f"{Path(base).name}-{seed}.npz"


def read_scores(file: Path) -> Scores:
    """Kept scores."""
    with np.load(file, allow_pickle=False) as kept:
        return Scores(**kept)
