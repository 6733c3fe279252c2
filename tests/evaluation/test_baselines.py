"""What the headline is compared with, and the parts of the rows: each number against a plain count."""

import json

import numpy as np
import pandas as pd
import pytest

from results_world import ensemble, evaluate, make_results, several_members
from vqaflow.evaluation.baselines import kept_epoch

P = ["p_a", "p_b", "p_c", "p_d"]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A member of each kind; every third row lacks a choice."""
    base = tmp_path_factory.mktemp("several")
    folder = make_results(base / "results", train_rows=240, members=several_members(base), lacking=True)
    ensemble(folder)
    return folder, evaluate(folder)


@pytest.fixture(scope="module")
def rows(several):
    folder, _ = several
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    p = pd.read_parquet(folder / "ensemble" / "oof.parquet").set_index("id")[P].loc[table.index]
    table["predicted"] = np.array(list("abcd"))[p.to_numpy().argmax(1)]
    table["right"] = table["predicted"] == table["answer"]
    table["choices"] = table[list("abcd")].notna().sum(axis=1)
    return table


def test_the_most_frequent_letter_is_counted(several, rows):
    """An accuracy of 60 % is nothing where c is right in 60 % of the rows."""
    first = several[1]["baselines"]["each"][0]
    counts = rows["answer"].value_counts()
    assert first["kind"] == "most frequent letter" and counts[first["name"].removeprefix("always ")] == counts.max()
    assert (first["right"], first["n"]) == (counts.max(), 240)
    gain = first["ensemble_against_it"]
    assert gain["gain"] == pytest.approx(rows["right"].mean() - counts.max() / 240)
    assert gain["bootstrap"][0] < gain["gain"] < gain["bootstrap"][1]


def test_chance_counts_only_the_choices_that_a_row_has(several, rows):
    assert several[1]["baselines"]["chance"] == pytest.approx((1 / rows["choices"]).mean()) != 0.25


def test_each_untuned_member_is_a_baseline(several):
    """What training gained is the first thing that one asks."""
    _, metrics = several
    kinds = {(one["kind"], one["name"]) for one in metrics["baselines"]["each"][1:]}
    assert kinds == {("untuned base", "untuned")}
    untuned = metrics["members"]["each"]["untuned"]
    for key in ("right", "n", "bootstrap", "ensemble_against_it"):
        assert metrics["baselines"]["each"][1][key] == untuned[key]


def test_parts_by_choices_and_votes_are_counted(several, rows):
    folder, metrics = several
    for count, part in rows.groupby("choices"):
        mine = metrics["by_choices"][str(count)]
        assert (mine["right"], mine["n"]) == (part["right"].sum(), len(part))
    votes = [
        np.array(list("abcd"))[pd.read_parquet(path).set_index("id").loc[rows.index, P].to_numpy().argmax(1)]
        for path in sorted(folder.glob("members/*/oof.parquet"))
    ]
    agree = (np.stack(votes) == rows["predicted"].to_numpy()).sum(0)
    assert {level: part["n"] for level, part in metrics["by_votes"].items()} == {
        f"{n}/4": (agree == n).sum() for n in sorted(set(agree.tolist()), reverse=True)
    }
    for level, part in metrics["by_votes"].items():
        assert part["right"] == rows["right"][agree == int(level[0])].sum()


def test_one_member_s_views_vote_where_they_have_the_row(tmp_path):
    """hflip lacks every fifth row: there, one view of one agrees."""
    folder = make_results(tmp_path / "results", train_rows=240)
    ensemble(folder)
    by_votes = evaluate(folder)["by_votes"]
    assert sum(part["n"] for part in by_votes.values()) == 240
    assert sum(by_votes[level]["n"] for level in by_votes if level.endswith("/1")) == 48


@pytest.mark.parametrize(
    ("keep", "accuracies", "epoch"),
    [
        ("last", [0.5, 0.9, 0.8], 3),
        ("best", [0.5, 0.9, 0.8], 2),
        ("best", [0.5, 0.9, 0.9], 2),
        ("best", [np.nan] * 3, 3),
    ],
)
def test_the_epoch_that_training_keeps_is_told(keep, accuracies, epoch):
    """The first of the best, as training keeps it; an adapter on all rows has no best one."""
    history = pd.DataFrame({"step": [5, 10, 15], "epoch": [1.0, 2.0, 3.0], "val_accuracy": accuracies})
    found = kept_epoch(history, keep)
    assert (found["kept_step"], found["kept_epoch"]) == (5 * epoch, epoch)
    told = accuracies[epoch - 1]
    assert found["kept_val_accuracy"] == (None if np.isnan(told) else told)
    assert kept_epoch(history, None)["kept_step"] is None


def test_brier_and_aurc_stand_beside_accuracy(several, rows):
    folder, metrics = several
    p = pd.read_parquet(folder / "ensemble" / "oof.parquet").set_index("id").loc[rows.index, P].to_numpy()
    target = np.eye(4)[rows["answer"].map("abcd".index)]
    assert metrics["measures"]["brier"]["value"] == pytest.approx(((p - target) ** 2).sum(1).mean())
    wrong, confidence = ~rows["right"].to_numpy(), p.max(1)
    assert metrics["measures"]["aurc"]["value"] == pytest.approx(
        np.mean([wrong[confidence >= mine].mean() for mine in confidence])
    )
    json.dumps(metrics, allow_nan=False)
