"""What a member says of each row follows from its scores alone, and bad input is named instead of pooled.

The reference is written with loops over single rows, views, seeds and orders, in float64.
"""

import json
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results_world import (
    foreign_member,
    make_results,
    member,
    pool_members,
    several_members,
)
from vqaflow.artifacts.columns import ALL_LETTERS, logit_columns, probability_columns
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import UNTUNED
from vqaflow.evaluation.verify.member_checks import check_scores
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]
PROBABILITIES = probability_columns("abcd")

LOGITS = logit_columns("abcd")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One member of each kind, pooled; three test rows are unusable."""
    folder = tmp_path_factory.mktemp("made")
    make_results(folder, members=several_members(folder), unusable=3)
    pool_members(folder)
    return folder


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "world"))


def naive_answers(folder: Path, name: str, split: str) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """By (part without its seed, row id): each view's probabilities, orders pooled geometrically, seeds averaged."""
    found: dict = defaultdict(lambda: defaultdict(list))
    for path in ResultsFolder(folder).all_scores(name):
        if path.parent.parent.name != split:
            continue
        part = path.parent.name.removeprefix("fold").split("-")[0]
        for row_id, lines in pd.read_parquet(path).groupby("id"):
            total = np.zeros(4)
            for logits in lines[LOGITS].to_numpy(np.float64):
                total += logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
            pooled = np.exp(total / len(lines))
            found[part, row_id][path.stem].append(pooled / pooled.sum())
    return {key: {view: np.mean(seeds, axis=0) for view, seeds in views.items()} for key, views in found.items()}


@pytest.mark.parametrize("name", ["main", "other", "untuned"])
def test_oof_answers_are_the_mean_over_views_and_seeds(made, name):
    naive = naive_answers(made, name, "oof")
    by_id = {row_id: np.mean(list(views.values()), axis=0) for (_, row_id), views in naive.items()}
    oof = pd.read_parquet(ResultsFolder(made).member(name).answers("oof"))
    assert list(oof["id"]) == list(pd.read_parquet(made / "tables" / "train.parquet")["id"])
    np.testing.assert_allclose(oof[PROBABILITIES], [by_id[i] for i in oof["id"]], atol=1e-12)


def test_test_answers_average_the_folds_and_count_the_refit_as_much_as_they(made):
    """Averaged as one of four parts, the adapter that has seen all rows would count for a quarter only."""
    naive = naive_answers(made, "main", "test")
    test = pd.read_parquet(ResultsFolder(made).member("main").answers("test"))
    assert len(test) == 40
    for row_id, *p in test[["id", *PROBABILITIES]].itertuples(index=False):
        parts = {part: np.mean(list(views.values()), axis=0) for (part, i), views in naive.items() if i == row_id}
        folds = np.mean([parts[fold] for fold in ("0", "1", "2")], axis=0)
        np.testing.assert_allclose(p, (folds + parts["all"]) / 2, atol=1e-12)


@pytest.mark.parametrize(("name", "parts"), [("main", ["0", "1", "2", "all"]), ("untuned", ["base"])])
def test_views_stay_apart_for_the_pool(made, name, parts):
    """The pool may drop a view, so it needs each one alone; a row that mirroring could change has no mirrored view."""
    at, naive = ResultsFolder(made).member(name), naive_answers(made, name, "test")
    views = pd.read_parquet(at.views("test"))
    assert list(views["part"].unique()) == parts and len(views) == 40 * len(parts)
    for line in views.to_dict("records"):
        expected = naive[line["part"], line["id"]]
        for view in json.loads(at.note.read_text(encoding="utf-8"))["views"]:
            logp = [line[f"{view}_{letter}"] for letter in LETTERS]
            if view in expected:
                np.testing.assert_allclose(np.exp(logp), expected[view], atol=1e-12)
            else:
                assert np.isnan(logp).all() and view == "hflip"


def test_someones_probabilities_are_taken_as_they_are(made):
    given = pd.read_csv(made / "friend_test.csv")
    test = pd.read_parquet(ResultsFolder(made).member("friend").answers("test"))
    np.testing.assert_allclose(test[PROBABILITIES], given[PROBABILITIES], atol=1e-12)


def test_a_member_says_what_it_is(made):
    told = json.loads(ResultsFolder(made).member("main").note.read_text(encoding="utf-8"))
    assert (told["kind"], told["seeds"], told["refit"], told["views"]) == ("tuned", [1, 2], True, ["original", "hflip"])
    assert "no OOF rows of its own" in told["note"], "that a refit inherits the weight of its folds must be said"
    assert json.loads(ResultsFolder(made).member("other").note.read_text(encoding="utf-8"))["note"] == ""


def test_the_cost_is_the_sum_of_the_jobs(made, tmp_path):
    from vqaflow.ensemble.pool_member import Tables, pool_member

    at = ResultsFolder(made)
    for number in (60, 90):
        (tmp_path / f"{number}.json").write_text(json.dumps({"seconds": number}), encoding="utf-8")
    pool_member(
        about={"name": "untuned"},
        scores=at.all_scores("untuned"),
        files=[],
        records=sorted(tmp_path.glob("*.json")),
        tables=Tables(at.table("train"), at.table("test"), at.folds, at.problems),
        order_pooling="geometric",
        out=ResultsFolder(tmp_path).member("untuned"),
    )
    assert json.loads(ResultsFolder(tmp_path).member("untuned").note.read_text(encoding="utf-8"))["minutes"] == 2.5


def test_the_prior_of_positions_comes_from_oof_rows(tmp_path):
    """A prior of the test rows would make an answer depend on which other test rows there are."""
    folder = make_results(tmp_path / "a", prior=(1.5, 0, 0, -1.5), orders=("abcd", "bcda"))
    scores = ResultsFolder(folder).scores("main", "test", 0, "original")
    answers = {}
    for name in ("all", "half"):
        pool_members(folder, "prior")
        views = pd.read_parquet(ResultsFolder(folder).member("main").views("test"))
        answers[name] = views[(views["part"] == "0") & views["id"].isin(views["id"].unique()[:20])]
        frame = pd.read_parquet(scores)
        frame.loc[~frame["id"].isin(frame["id"].unique()[:20]), LOGITS] = 0.0
        frame.to_parquet(scores, index=False)
    columns = [f"original_{letter}" for letter in LETTERS]
    np.testing.assert_array_equal(answers["all"][columns], answers["half"][columns])


def test_a_prior_that_the_orders_do_not_tell_is_refused(tmp_path):
    folder = make_results(tmp_path / "a", orders=("abcd",))
    with pytest.raises(UserError, match="order_pooling: a position prior cannot be estimated from the orders of"):
        pool_members(folder, "prior")


def test_a_missing_fold_is_named(world):
    shutil.rmtree(world / "scores" / "other" / "oof" / "fold1")
    with pytest.raises(UserError, match=r"scores/other/oof/fold1: is missing, but test has this fold"):
        pool_members(world)
    shutil.rmtree(world / "scores" / "other" / "test" / "fold1")
    with pytest.raises(UserError, match=r"scores/other/oof/fold1: it has no scores"):
        pool_members(world)


def test_a_missing_view_leaves_no_row_unanswered(world):
    """The mirrored view alone lacks the rows that are not to be mirrored."""
    (world / "scores" / "main" / "oof" / "fold0-seed2" / "original.parquet").unlink()
    with pytest.raises(UserError, match=r"fold0-seed2: has no scores for rows"):
        pool_members(world)


def test_only_the_main_view_must_have_the_unusable_rows(tmp_path):
    """With train.view: tiles and the original view as a second one, each test row without an image stopped the run."""
    views = {"original": {"strength": 1.5, "enabled": True}, "tiles": {"strength": 2.0}}
    tiled = replace(member("main"), train={"view": "tiles"}, views=views)
    folder = make_results(tmp_path, members={"main": tiled}, unusable=3)
    pool_members(folder)
    parts = pd.read_parquet(ResultsFolder(folder).member("main").views("test"))
    assert parts["original_a"].isna().sum() == 3 * 3 and parts["tiles_a"].notna().all()
    assert "scored orders" in check_scores(Results(ResultsFolder(folder)))
    tiles = ResultsFolder(folder).scores("main", "test", 0, "tiles")
    pd.read_parquet(tiles).iloc[4:].to_parquet(tiles, index=False)
    with pytest.raises(UserError, match=r"tiles\.parquet: has no scores for rows"):
        pool_members(folder)


def test_rows_of_another_fold_are_refused(world):
    """The adapter of fold 1 was trained on the rows of fold 0: its answers to them would be worthless as OOF."""
    source = world / "scores" / "other" / "oof"
    shutil.copyfile(source / "fold1" / "original.parquet", source / "fold0" / "original.parquet")
    with pytest.raises(UserError, match="has rows that do not belong in it"):
        pool_members(world)


def test_a_table_with_other_rows_than_the_folds_is_refused(world):
    table = pd.read_parquet(world / "tables" / "train.parquet")
    table.iloc[1:].to_parquet(world / "tables" / "train.parquet", index=False)
    with pytest.raises(UserError, match=r"folds\.parquet: rows .* are only in this file"):
        pool_members(world)


def test_bad_probabilities_of_others_stop_the_member_and_name_the_file(world):
    given = pd.read_csv(world / "friend_oof.csv")
    given.loc[5, "p_a"] = 7.0
    given.to_csv(world / "friend_oof.csv", index=False)
    moved = json.loads((world / "members_in_test.json").read_text(encoding="utf-8"))
    moved["friend"]["probabilities"] = {split: str(world / f"friend_{split}.csv") for split in ("oof", "test")}
    (world / "members_in_test.json").write_text(json.dumps(moved), encoding="utf-8")
    before = (world / "members" / "friend" / "oof.parquet").read_bytes()
    with pytest.raises(UserError, match=r"friend_oof\.csv: "):
        pool_members(world)
    assert (world / "members" / "friend" / "oof.parquet").read_bytes() == before, "what was there is kept"


def test_rows_that_the_tables_left_out_may_be_in_a_file(tmp_path):
    """A friend who has not left out the same bad rows gives a file that is right all the same."""
    folder = make_results(tmp_path, members={"friend": foreign_member("friend", tmp_path)})
    with (tmp_path / "friend_oof.csv").open("a", encoding="utf-8") as file:
        file.write("bad_row,0.25,0.25,0.25,0.25\n")
    with pytest.raises(UserError, match="bad_row"):
        pool_members(folder)
    header = "file,row,id,column,value,problem,cure,kind,severity\n"
    listed = ResultsFolder(folder).problems
    listed.write_text(header + "train.csv,9,bad_row,answer,x,p,c,k,error\n", encoding="utf-8")
    pool_members(folder)
    note = json.loads(ResultsFolder(folder).member("friend").note.read_text(encoding="utf-8"))["note"]
    assert "bad_row" in note or "1 row" in note


def test_only_an_untuned_member_is_enough(tmp_path):
    """The first submission, before anything was trained."""
    folder = make_results(tmp_path, members={"main": member("main", UNTUNED)})
    (out,) = pool_members(folder)
    assert len(pd.read_parquet(out / "oof.parquet")) == 120 and not (folder / "adapters").exists()
