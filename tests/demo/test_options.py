"""simulate options: which trainings there are, what a teacher is, and how options are judged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.demo import option_runs
from vqaflow.demo.option_runs import DEFAULT, OPTIONS, Run, Said, is_ready, runs_of, scores_file, teacher_file
from vqaflow.demo.options import SEVERAL, Demo, answered, judge, judged_lines, mean_of_seeds, measured

ROWS, TESTS = 90, 60


def made_demo() -> Demo:
    """Rows in groups of two, with answers 0 to 3."""
    answers = {"oof": np.arange(ROWS) % 4, "test": np.arange(TESTS) % 4}
    groups = {name: np.arange(len(given)) // 2 for name, given in answers.items()}
    return Demo(np.array([f"r{i}" for i in range(ROWS)]), answers, groups)


def made_folds(demo: Demo, knows: float, seed: int) -> list[Said]:
    """What three folds' adapters say that know `knows` logits of the answer; every fifth row is not mirrored."""
    rng = np.random.default_rng(seed)

    def logp(answers: np.ndarray) -> np.ndarray:
        logits = rng.normal(size=(2, len(answers), 4))
        logits[:, np.arange(len(answers)), answers] += knows
        logp_VNC = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        logp_VNC[1, ::5] = np.nan
        return logp_VNC.astype(np.float32)

    parts = [np.arange(ROWS) % 3 == fold for fold in range(3)]
    return [Said(demo.ids_N[mine], logp(demo.answers["oof"][mine]), logp(demo.answers["test"])) for mine in parts]


def test_a_gain_is_found_and_a_twin_is_not() -> None:
    """The table decides what is praised: a better option must show, and one that only differs by chance must not."""
    demo = made_demo()
    seeds = zip(made_folds(demo, 1.0, 1), made_folds(demo, 1.0, 2), strict=True)
    pooled = [mean_of_seeds(two) for two in seeds]
    found = {
        DEFAULT: [measured(demo, answered(demo, made_folds(demo, 1.0, seed))) for seed in (1, 2, 3)],
        "twin": [measured(demo, answered(demo, made_folds(demo, 1.0, seed))) for seed in (4, 5, 6)],
        "better": [measured(demo, answered(demo, made_folds(demo, 3.0, seed))) for seed in (7, 8, 9)],
        SEVERAL: [measured(demo, answered(demo, pooled))],
    }
    judged = judge(demo, found)
    for rows in ("oof", "test"):
        assert judged["better"][rows]["gain"] > 0.1 and judged["better"][rows]["p_value"] < 0.01
        assert judged["better"][rows]["gain_nll"] < 0 and judged["better"][rows]["with_seeds"]["p_value"] < 0.05
        assert judged["twin"][rows]["p_value"] > 0.05
        assert judged[SEVERAL][rows]["with_seeds"] is None and len(judged["twin"][rows]["seeds"]) == 3
    assert len(judged_lines(judged)) >= 4


def test_oof_rows_are_in_the_tables_order() -> None:
    """Probabilities of one row compared with the answer of another would be chance for all options."""
    demo, seen = made_demo(), []
    for folds in (made_folds(demo, 9.0, 1), made_folds(demo, 9.0, 1)[::-1]):
        p = answered(demo, folds)
        assert (p["oof"].argmax(1) == demo.answers["oof"]).mean() > 0.95
        seen.append(p["oof"])
    np.testing.assert_allclose(*seen)


def test_a_refit_counts_half_on_test_rows_and_not_at_all_on_oof() -> None:
    """As in a run (docs/members.md): it has no row left that it has not seen."""
    demo = made_demo()
    turned = replace(demo, answers={name: 3 - given for name, given in demo.answers.items()})
    folds, wrong = made_folds(demo, 2.0, 1), made_folds(turned, 9.0, 2)[0]
    plain, mixed = answered(demo, folds), answered(demo, folds, wrong)
    np.testing.assert_array_equal(plain["oof"], mixed["oof"])
    right = [(p["test"].argmax(1) == demo.answers["test"]).mean() for p in (plain, mixed)]
    assert right[1] < right[0] - 0.2


def test_every_option_is_trained_with_its_teacher_before_it() -> None:
    """A pupil without its teacher would wait for ever; a refit is one training."""
    runs = runs_of(["mirror, soft labels", "refit", DEFAULT], [1, 2], 3)
    names = [run.option for run in runs]
    assert names.index("stronger base") < names.index("mirror, soft labels")
    assert len(runs) == 3 * 2 * 3 + 2 and Run("refit", 2, "all") in runs and len(set(runs)) == len(runs)
    folders = {option_runs.folder_of(ResultsFolder(Path("r")), name, 1) for name in OPTIONS}
    assert len(folders) == len(OPTIONS), "two options would share their scores"


def test_a_pupil_waits_for_all_folds_of_its_teacher(tmp_path) -> None:
    """It would learn from a part of the rows; what it learns is the mean of the views that a row has."""
    at, demo = ResultsFolder(tmp_path), made_demo()
    runs = runs_of(["soft labels"], [1], 3)
    pupil = next(run for run in runs if run.option == "soft labels")
    folds = made_folds(demo, 1.0, 1)
    for number, said in enumerate(folds):
        assert not is_ready(at, pupil, runs)
        file = scores_file(at, Run("stronger base", 1, str(number)))
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **vars(said))
    assert is_ready(at, pupil, runs)
    told = pd.read_parquet(teacher_file(at, "stronger base", 1)).set_index("id")
    assert sorted(told.index) == sorted(demo.ids_N)
    p_VC = np.exp(folds[0].held_out_VNC[:, 1].astype(np.float64))
    assert told.loc[folds[0].ids_N[1]].to_numpy() == pytest.approx(p_VC.mean(0), abs=1e-6)
    only_C = np.exp(folds[0].held_out_VNC[0, 0].astype(np.float64))
    assert told.loc[folds[0].ids_N[0]].to_numpy() == pytest.approx(only_C, abs=1e-6)
