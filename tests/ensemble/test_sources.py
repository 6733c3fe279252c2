"""The members' files: read exactly, a part at a time, and every damage is named with its file."""

import json
import shutil

import numpy as np
import pandas as pd
import polars as pl
import pytest

from results_world import make_results, member, pool_members, several_members
from vqaflow.artifacts.choices import read_with_letters
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.ensemble.ensemble_probabilities import oof_rows
from vqaflow.ensemble.sources import (
    Source,
    ViewsOfTest,
    member_numbers,
    read_members,
    read_oof,
    sources_of,
    whole_sources,
)
from vqaflow.runtime.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "results"
    folder.mkdir()
    make_results(folder, members=several_members(folder), unusable=3)
    pool_members(folder)
    return folder


@pytest.fixture
def results(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "results")


def members_in(results):
    return read_members([ResultsFolder(results).member(name).folder for name in ResultsFolder(results).members()])


def rows_of(results):
    return oof_rows(ResultsFolder(results).table("train"), ResultsFolder(results).folds)


def rows_of_test(results):
    return read_with_letters(ResultsFolder(results).table("test"), ["id"])


def edit(results, name, split, change):
    path = ResultsFolder(results).member(name).views(split)
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def test_sources_are_the_members_views_in_order(made):
    sources = sources_of(members_in(made))
    views = ["friend/file", "main/original", "main/hflip", "other/original", "untuned/original"]
    assert [f"{source.member}/{source.view}" for source in sources] == views
    assert member_numbers(sources).tolist() == [0, 1, 1, 2, 3]
    assert member_numbers([Source("b", "x"), Source("a", "x"), Source("a", "y")]).tolist() == [0, 1, 1]


def test_oof_is_what_the_files_say(made):
    logp_NSC = read_oof(members_in(made), rows_of(made))
    for number, source in enumerate(sources_of(members_in(made))):
        frame = pd.read_parquet(ResultsFolder(made).member(source.member).views("oof"))
        expected = frame[[f"{source.view}_{letter}" for letter in "abcd"]].to_numpy()
        np.testing.assert_array_equal(logp_NSC[:, number], expected)
    assert np.isnan(logp_NSC).any(), "the case has an absent view"


def test_test_rows_are_read_part_by_part(made):
    """Each member gives its own part; what is read for one fold must not stay for the next."""
    members, rows = members_in(made), rows_of_test(made)
    views = ViewsOfTest(members, rows)
    alone = {"friend": "file", "untuned": "base"}
    for parts in ({"main": "0", "other": "0"}, {"main": "1", "other": "1"}, {"main": "all", "other": "1"}):
        logp_NSC = views.read(parts | alone)
        for number, source in enumerate(sources_of(members)):
            frame = pd.read_parquet(ResultsFolder(made).member(source.member).views("test"))
            frame = frame[frame["part"] == (parts | alone)[source.member]]
            assert list(frame["id"]) == rows["id"].to_list()
            expected = frame[[f"{source.view}_{letter}" for letter in "abcd"]].to_numpy()
            np.testing.assert_array_equal(logp_NSC[:, number], expected)


def test_sources_that_lack_a_row_in_either_split_are_known(made, results):
    assert whole_sources(members_in(made)) == {0, 1, 3, 4}  # hflip leaves rows out
    edit(results, "other", "test", lambda frame: frame.assign(original_a=frame["original_a"].where(frame.index > 0)))
    assert whole_sources(members_in(results)) == {0, 1, 4}


@pytest.mark.parametrize("split", ["oof", "test"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.iloc[1:], "are not those of the table|does not have the 40 test rows"),
        (lambda f: pd.concat([f.iloc[[1, 0]], f.iloc[2:]]), "are not those of the table"),
        (lambda f: f.drop(columns="original_b"), "is damaged"),
        (lambda f: f.assign(original_b=np.inf), "is damaged"),
        (lambda f: f.assign(original_b=-np.inf), "is damaged"),
        (lambda f: f.assign(original_b=None), "is damaged .*a log-probability is not a number"),
        (lambda f: f.assign(original_b=f["original_b"] + 0.01), "is damaged .*'.*' and .* do not have probabilities"),
        (lambda f: f.assign(original_b="x"), "is damaged"),
    ],
)
def test_a_damaged_file_is_named(results, split, change, message):
    edit(results, "other", split, change)
    where, cure = rf"members/other/{split}_views\.parquet: ", "[Rr]un the rule pool_member"
    with pytest.raises(UserError, match=f"{where}.*({message}).*{cure}"):
        read_all(results)


def read_all(results):
    members = members_in(results)
    read_oof(members, rows_of(results))
    views = ViewsOfTest(members, rows_of_test(results))
    views.read({m.name: m.parts[0] for m in members})


def test_nan_is_not_an_absent_row(results):
    """Absent is null. A NaN comes from a broken computation, and would silently leave a view out."""
    path = ResultsFolder(results).member("other").views("oof")
    frame = pl.read_parquet(path)
    columns = [f"original_{letter}" for letter in "abcd"]
    frame.with_columns(pl.lit(float("nan")).alias(name) for name in columns).write_parquet(path)
    with pytest.raises(UserError, match="is damaged .*not a number"):
        read_all(results)


@pytest.mark.parametrize("split", ["oof", "test"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_broken_file_is_named(results, split, damage):
    path = ResultsFolder(results).member("main").views(split)
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-50] if damage == "cut" else b"")
    with pytest.raises(UserError, match=rf"main/{split}_views\.parquet: is (damaged|missing|empty).*rule pool_member"):
        read_all(results)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda note: note.pop("parts"), "it has no parts"),
        (lambda note: note.update(views=[]), "no view or no part"),
        (lambda note: note.update(parts=["0", "1"]), "does not have the 40 test rows of 0, 1"),
        (lambda note: note.update(parts=["0", "1", "3"]), "has folds 0, 1, 2, but|has folds 0, 1, 3, but"),
    ],
)
def test_a_note_that_does_not_fit_is_named(results, change, message):
    path = ResultsFolder(results).member("other").note
    note = json.loads(path.read_text(encoding="utf-8"))
    change(note)
    if note.get("parts") == ["0", "1"]:  # the same in the other tuned member: only the file tells
        other = ResultsFolder(results).member("main").note
        other.write_text(json.dumps(json.loads(other.read_text()) | {"parts": ["0", "1"]}), encoding="utf-8")
    path.write_text(json.dumps(note), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_all(results)


def test_other_folds_are_refused(results):
    """A row would be answered by an adapter that was trained on it."""
    path = ResultsFolder(results).folds
    frame = pd.read_parquet(path)
    frame.assign(fold=frame["fold"].replace({0: 1, 1: 0})).to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"main/oof_views\.parquet: its folds are not those of folds\.parquet"):
        read_all(results)


def test_no_member_is_an_error():
    with pytest.raises(UserError, match="there is no member"):
        read_members([])


def test_members_of_one_kind_may_lack_folds(tmp_path):
    """An untuned member alone is a run too."""
    make_results(tmp_path, members={"base": member("base", "untuned", {"original": 1.0})})
    (only,) = read_members(pool_members(tmp_path))
    assert only.folds == () and only.parts == ("base",)
