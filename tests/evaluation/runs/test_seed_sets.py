"""Two settings with several training seeds each: what is better is the setting, not the luck of a seed."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from results_world import ensemble, make_results
from vqaflow.commands.command_line import main
from vqaflow.evaluation.runs.seed_sets import compare_sets, described, summarized
from vqaflow.runtime.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of a weak and of a strong setting on the same 120 rows."""
    folder = tmp_path_factory.mktemp("sets")
    for setting, strength in (("weak", 0.6), ("strong", 2.5)):
        for seed in (1, 2):
            made = make_results(folder / f"{setting}{seed}", train_rows=120, strength={"original": strength}, seed=seed)
            ensemble(made)
    first = folder / "weak1"
    for other in ("weak2", "strong1", "strong2"):  # the same rows; the scores differ
        for name in ("tables/train.parquet", "folds.parquet"):
            shutil.copy(first / name, folder / other / name)
    answers = pd.read_parquet(first / "tables/train.parquet")["answer"].map("abcd".index).to_numpy()
    for number, (setting, right) in enumerate((("weak", 0.6), ("strong", 0.9))):
        for seed in (1, 2):
            rng = np.random.default_rng([number, seed])
            path = folder / f"{setting}{seed}" / "ensemble/oof.parquet"
            oof = pd.read_parquet(path)
            chosen = np.where(rng.permutation(120) < 120 * right + seed, answers, (answers + 1) % 4)
            oof[["p_a", "p_b", "p_c", "p_d"]] = np.eye(4)[chosen] * 0.9 + 0.025
            oof.to_parquet(path, index=False)
    return folder


def test_a_better_setting_is_found_and_its_numbers_are_told(runs, capsys):
    names = [str(runs / name) for name in ("weak1", "weak2", "strong1", "strong2")]
    main(["compare", *names[:2], "--seeds", *names[2:]])
    printed = capsys.readouterr().out
    assert "B is better, by more than the noise of rows and training seeds." in printed
    found = compare_sets([runs / "weak1", runs / "weak2"], [runs / "strong1", runs / "strong2"])
    assert found.overall["gain"] == pytest.approx(np.mean(found.accuracies[1]) - np.mean(found.accuracies[0]))
    assert sum(summary["n"] for summary in found.by_type.values()) == found.n == 120
    assert any(line.startswith("A: 2 runs") for line in described(found))


def test_seeds_that_differ_more_than_settings_are_noise():
    """Two lucky seeds of A and two unlucky ones of B prove nothing if A's own runs are as far apart."""
    rows = np.arange(400)
    right = np.array([rows < 300, rows < 340, rows < 330, rows < 370])
    found = summarized(right[:2], right[2:], rows)
    assert found["gain"] == pytest.approx(0.075) and found["p_value"] > 0.05
    assert found["interval"][0] < 0 < found["interval"][1]


def test_with_many_rows_the_test_is_that_of_the_runs_accuracies():
    """Then only the seeds are noise: Welch's test of the accuracies."""
    rng = np.random.default_rng(0)
    shares = np.array([0.80, 0.82, 0.815, 0.84, 0.83, 0.85])
    right = np.array([rng.permutation(200_000) < share * 200_000 for share in shares])
    found = summarized(right[:3], right[3:], np.arange(200_000))
    expected = ttest_ind(shares[:3], shares[3:], equal_var=False).pvalue
    assert found["p_value"] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["weak1"], ["strong1", "strong2"], "is alone in its set.*at least two runs"),
        (["weak1", "weak2"], ["strong1", "strong1"], "is alone in its set"),
        (["weak1", "copy"], ["strong1", "strong2"], "have the same answers.*different seeds"),
    ],
)
def test_sets_without_several_seeds_are_refused(runs, first, second, message):
    """One run says nothing of what a seed changes."""
    if not (runs / "copy").exists():
        shutil.copytree(runs / "weak1", runs / "copy")
    with pytest.raises(UserError, match=message):
        compare_sets([runs / name for name in first], [runs / name for name in second])


def test_more_than_two_runs_need_sets(runs, capsys):
    with pytest.raises(SystemExit):
        main(["compare", *[str(runs / name) for name in ("weak1", "weak2", "strong1")]])
    assert "Give two, or two sets" in capsys.readouterr().err
