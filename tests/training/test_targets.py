"""Which rows of several people's answers train, and on what: what would break if training learned other targets."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import training_world
from people import with_answers
from vqaflow.artifacts.rows import contents, rows_of, text_row
from vqaflow.config.sections import AnswersConfig
from vqaflow.runtime.errors import UserError
from vqaflow.training.targets import batch_targets, targets_of
from vqaflow.training.train_adapter import train_adapter

GIVEN = ["aaaaa", "aaaab", "ababa", "abcdd", "c"]


@pytest.fixture
def rows():
    """Rows of five answers that agree less and less, and one with a gold answer."""
    row = text_row("q", ["w", "x", "y", "z"], "general")
    table = pd.DataFrame([{"id": f"r{i}", "question": "q", "qtype": "ocr", "image_file": ""} for i in range(5)])
    table = table.assign(sha256="", width=1, height=1, **dict(zip("abcd", row.choices, strict=True)))
    return rows_of(with_answers(table, GIVEN))


def test_two_people_are_several(rows):
    """How their answers were used belongs to the key of the training: else another use would not train again."""
    table = pd.DataFrame([{"id": "r", "question": "q", "qtype": "ocr", "image_file": "", "sha256": ""}])
    choices = dict(zip("abcd", rows[0].choices, strict=True))
    [two] = rows_of(with_answers(table.assign(width=1, height=1, **choices), ["ab"]))
    assert two.people == 2
    assert targets_of([two], AnswersConfig("soft")).described()["answers_use"] == "soft"


@pytest.mark.parametrize(
    ("use", "trained"),
    [
        ("soft", "r0 r1 r2 r3 r4"),
        ("majority", "r0 r1 r2 r3 r4"),
        ("unanimous", "r0 r4"),
        ("at least 4", "r0 r1 r4"),
        ("at least 3", "r0 r1 r2 r4"),
    ],
)
def test_only_rows_that_agree_enough_train(rows, use, trained):
    """A gold answer always trains; the rows left out are counted."""
    found = targets_of(rows, AnswersConfig(use))
    assert [row.id for row in found.rows] == trained.split()
    told = {"answers_use": use, "agreement_weight": False, "rows_left_out": 5 - len(found.rows)}
    assert found.described() == told


def test_soft_targets_are_the_shares_and_all_others_the_most_frequent_answer(rows):
    """Else `majority` would train on single persons' answers, or `soft` forget that people disagree."""
    soft, hard = (targets_of(rows, AnswersConfig(use)).rows for use in ("soft", "majority"))
    assert soft[2].target() == (0.6, 0.4, 0.0, 0.0) and hard[2].target() == (1.0, 0.0, 0.0, 0.0)
    assert soft[3].target() == (0.2, 0.2, 0.2, 0.4) and hard[3].target() == (0.0, 0.0, 0.0, 1.0)
    assert soft[4].target() == hard[4].target() == (0.0, 0.0, 1.0, 0.0)


def test_agreement_weighs_the_loss_of_a_row(rows):
    """The weight is the share of the most frequent answer, for targets of either kind."""
    for use in ("soft", "majority"):
        weighted = targets_of(rows, AnswersConfig(use, agreement_weight=True)).rows
        assert [row.weight for row in weighted] == [1.0, 0.8, 0.6, 0.4, 1.0]
        target, weight = batch_targets([(row, ["abcd", "dcba"]) for row in weighted])
        assert weight.tolist() == torch.tensor([[1.0] * 2, [0.8] * 2, [0.6] * 2, [0.4] * 2, [1.0] * 2]).tolist()
        assert torch.equal(target[:, 1], target[:, 0].flip(-1))


def test_a_use_that_leaves_no_row_says_what_there_is(rows):
    """The April competition has no unanimous row: training on nothing would fail far from its cause."""
    with pytest.raises(UserError, match=r"data\.answers_use: 'unanimous' leaves none of 2 rows.*`at least 4`"):
        targets_of(rows[1:3], AnswersConfig("unanimous"))


def test_what_identifies_a_row_is_what_it_was_without_several_answers(rows):
    """Else every adapter of users with one answer per row would be trained again."""
    single = replace(rows[4], shares=None)
    assert single.content() == [*single.asked(), "c"]
    asked, trained = rows[2].asked(), targets_of(rows, AnswersConfig()).rows[2].content()
    assert trained == [*asked, "a", "shares", "0.6", "0.4", "0.0", "0.0"]
    assert replace(rows[2], answer="b", shares=None).asked() == asked, "a score does not depend on the answers"
    majority = targets_of(rows, AnswersConfig("majority")).rows
    assert contents(majority) != contents(targets_of(rows, AnswersConfig("majority", True)).rows)


@pytest.mark.parametrize("answers", [AnswersConfig(), AnswersConfig("unanimous", True)])
def test_settings_that_change_nothing_are_not_told(rows, answers):
    """An adapter from the store would tell of settings that were changed since."""
    assert targets_of(rows[4:], answers).described() == {}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The world of training tests, its 40 rows answered by five people, fold 0 held out."""
    world = training_world.make_world(tmp_path_factory.mktemp("people"))
    table = pd.read_parquet(world / "train.parquet")
    given = [answer * (2 + i % 4) + "abcd"[i % 3] * (3 - i % 4) for i, answer in enumerate(table["answer"])]
    with_answers(table, given).to_parquet(world / "train.parquet")
    return world


@pytest.fixture(scope="module")
def trained(world):
    """Trains on the world's rows with the answers used in one way; returns weights, run.json and log."""

    def run(name, answers):
        given = training_world.training_arguments(**training_world.job(world, name, epochs=1))
        train_adapter(**given | {"rows": replace(given["rows"], answers=answers)})
        told = json.loads((given["out"] / "run.json").read_text(encoding="utf-8"))
        return load_file(given["out"] / "adapter_model.safetensors"), told, pd.read_csv(given["out"] / "log.csv")

    uses = {"soft": AnswersConfig(), "weighted": AnswersConfig("soft", True), "agreed": AnswersConfig("at least 4")}
    return {name: run(name, answers) for name, answers in uses.items()}


def test_each_use_of_the_answers_trains_another_adapter(trained):
    """A changed key that gave the stored adapter would answer with what was trained before the change."""
    for name, (weights, told, _) in trained.items():
        assert told["rows"] + told["rows_left_out"] == 20 and told["validation_rows"] == 20
        assert (told["rows_left_out"] > 0) == (name == "agreed") == (told["answers_use"] == "at least 4")
        others = [other for other_name, (other, _, _) in trained.items() if other_name != name]
        assert all(any(not torch.equal(weight, other[key]) for key, weight in weights.items()) for other in others)


def test_validation_counts_the_people_who_gave_the_chosen_answer(trained):
    """With five answers, `keep: best` would choose epochs by whichever answer won three to two."""
    _, told, log = trained["soft"]
    single_answers = 5 * 20 * log["val_accuracy"]
    assert single_answers.round(6).isin(range(101)).all(), "not a mean of fifths"
    assert (single_answers.round() % 5 != 0).any(), "rows count as wholly right or wrong"
    assert told["best_val_accuracy"] == log["val_accuracy"].max()
