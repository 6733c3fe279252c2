"""Exported probabilities: read back exactly, by vqaflow and by others, and never over a file that was not meant."""

import numpy as np
import pandas as pd
import pytest

from results_world import make_results, pool_members
from vqaflow.artifacts.columns import ALL_LETTERS, probability_columns
from vqaflow.artifacts.probability_files import read_pair, read_probabilities
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.export.probabilities import export_probabilities
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]
PROBABILITIES = probability_columns("abcd")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with one member, and an ensemble that says something else."""
    folder = make_results(tmp_path_factory.mktemp("run"), unusable=2)
    pool_members(folder)
    at = ResultsFolder(folder)
    for split in ("oof", "test"):
        frame = pd.read_parquet(at.member("main").answers(split))
        frame[PROBABILITIES] = (frame[PROBABILITIES] + 0.1) / 1.4
        at.probabilities(split).parent.mkdir(exist_ok=True)
        frame.to_parquet(at.probabilities(split), index=False)
    return at


def told(path):
    frame = pd.read_parquet(path)
    return list(frame["id"]), frame[PROBABILITIES].to_numpy()


@pytest.mark.parametrize("out", ["mine_{split}.csv", "{split}_probs.npz", "folder", "."])
@pytest.mark.parametrize("member", [None, "main"])
def test_what_is_exported_is_read_back_exactly(run, tmp_path, out, member):
    """Else the same model would count differently in a friend's run, or after a detour through a file."""
    oof_file, test_file = export_probabilities(run, member, "both", tmp_path / out, False)
    source = run.probabilities if member is None else run.member(member).answers
    (train_ids, oof_NC), (test_ids, test_NC) = told(source("oof")), told(source("test"))
    answers = pd.read_parquet(run.table("train"))["answer"].map(LETTERS.index).to_numpy()
    back = read_pair(oof_file, test_file, train_ids, answers, test_ids, (), LETTERS)
    assert np.array_equal(back.oof_NC, oof_NC) and np.array_equal(back.test_NC, test_NC)
    assert not back.notes


def test_one_split_goes_to_one_file(run, tmp_path):
    assert export_probabilities(run, None, "oof", tmp_path / "mine.csv", False) == [tmp_path / "mine.csv"]
    ids, p_NC = told(run.probabilities("oof"))
    assert np.array_equal(read_probabilities(tmp_path / "mine.csv", ids, LETTERS)[0], p_NC)
    assert (tmp_path / "mine.csv").read_text().startswith("id,p_a,p_b,p_c,p_d\n")


def test_an_npz_needs_no_pickle(run, tmp_path):
    """Else whoever reads it must trust the sender."""
    (path,) = export_probabilities(run, None, "test", tmp_path / "{split}_probs.npz", False)
    assert path.name == "test_probs.npz"
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["avg", "ids"] and arrays["ids"].dtype.kind == "U" and arrays["avg"].shape == (40, 4)


def test_an_existing_file_is_kept_unless_forced(run, tmp_path):
    """It may be someone else's, the only copy."""
    (tmp_path / "test.csv").write_text("precious")
    with pytest.raises(UserError, match=r"test.csv: exists. Name another file, or add --force"):
        export_probabilities(run, None, "both", tmp_path / "{split}.csv", False)
    assert (tmp_path / "test.csv").read_text() == "precious"
    assert not (tmp_path / "oof.csv").exists(), "half an export"
    export_probabilities(run, None, "both", tmp_path / "{split}.csv", True)
    assert (tmp_path / "test.csv").read_text().startswith("id,")


def test_a_folder_in_the_place_of_a_file_is_named(run, tmp_path):
    (tmp_path / "mine_oof.csv").mkdir()
    with pytest.raises(UserError, match=r"mine_oof.csv: is a folder. Name a file"):
        export_probabilities(run, None, "oof", tmp_path / "mine_{split}.csv", True)


@pytest.mark.parametrize(
    ("member", "split", "out", "expected"),
    [
        (None, "both", "mine.csv", r"cannot take both splits. Write '.*mine_\{split\}.csv'"),
        (None, "oof", "mine.xlsx", r"its name ends neither in .csv nor in .npz"),
        ("mian", "oof", "mine.csv", r"no such member; did you mean 'main'"),
    ],
)
def test_what_cannot_be_written_is_named(run, tmp_path, member, split, out, expected):
    with pytest.raises(UserError, match=expected):
        export_probabilities(run, member, split, tmp_path / out, False)


def test_a_run_without_results_says_which_rule_to_run(tmp_path):
    with pytest.raises(UserError, match=r"Run the rule ensemble_probabilities"):
        export_probabilities(ResultsFolder(tmp_path), None, "oof", tmp_path / "a.csv", False)
    with pytest.raises(UserError, match=r"run the rule pool_member first"):
        export_probabilities(ResultsFolder(tmp_path), "main", "oof", tmp_path / "a.csv", False)
