"""Rows that repeat each other: an answer that is known, and answers that contradict each other."""

import shutil

import pandas as pd
import pytest

from competition import Competition
from places import REAL_DATA, needs_real_data
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.data.repeats import Repeats

LETTERS = ALL_LETTERS[:4]


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path, rows=8)


def same(row, other, **changes):
    """Let a row repeat another one's image, question and choices."""
    row.update({name: other[name] for name in ("path", "question", *LETTERS)} | changes)


def test_test_rows_of_known_answer_are_listed(data, caplog):
    """With the image saved again, the choices in another order, and another end of the question."""
    first = data.train[0]
    shutil.copy(data.folder / first["path"], data.folder / "test/copy.png")
    same(data.test[1], first, path="test/copy.png", question=first["question"] + " ?", a=first["b"], b=first["a"])
    same(data.test[2], data.train[3], path=data.test[2]["path"])
    data.test[3]["question"] = data.train[5]["question"]
    train, test = data.run()
    assert data.kinds() == {("answer_known", "test_0001", "")} and len(train) == 8 and test["usable"].all()
    assert "the answer '빨강'" in data.problems()["problem"][0] and data.problems()["row"][0] == "3"
    repeats = Repeats(train, test)
    # Rows of one number ask the same in both tables of the helper, of other images; the last choice is the number.
    assert repeats.known == [("test_0001", "train_0000")]
    assert ("test_0002", "train_0003") in repeats.asked and ("test_0003", "train_0005") not in repeats.asked
    assert ("test_0003", "train_0005") in repeats.questions
    listed = repeats.listed().set_index("id")
    assert listed.loc["test_0001"].tolist() == ["answer known", "train_0000", "빨강"]
    assert listed.loc["test_0003"].tolist() == ["question", "train_0005", "파랑"]
    assert repeats.counts() == {
        "test_rows_of_known_answer": 1,
        "test_rows_of_known_question_and_choices": 7,
        "test_rows_of_known_question": 8,
        "contradicting_train_rows": 0,
    }


def test_contradictions_are_listed_and_kept(data):
    """The same content with another answer; another letter for the same text is none."""
    same(data.train[1], data.train[0], answer="c")
    same(data.train[2], data.train[0])
    data.train[2].update(a=data.train[0]["d"], d=data.train[0]["a"], answer="d")  # the same text as train_0000's a
    same(data.train[4], data.train[3])
    data.train[4]["answer"] = data.train[3]["answer"]
    train, _ = data.run()
    assert len(train) == 8
    assert data.kinds() == {("contradiction", f"train_000{i}", "") for i in range(3)}
    assert set(data.problems()["severity"]) == {"warning"}
    assert "row 'train_0001' has the same image" in data.problems()["problem"][0]
    assert "set data.contradictions: leave_out" in data.problems()["cure"][0]


def test_contradictions_are_left_out_if_the_configuration_says_so(data):
    """And listed: no row disappears without a word. They are not counted as rows that cannot be used."""
    data.run()
    before = data.run()[0]
    same(data.train[1], data.train[0], answer="c")
    train, _ = data.run(contradictions="leave_out", max_quarantined=0.0)
    assert list(train["id"]) == [f"train_000{i}" for i in range(2, 8)]
    assert data.kinds() == {("contradiction", f"train_000{i}", "") for i in range(2)}
    assert set(data.problems()["severity"]) == {"left out"}
    assert list(train) == list(before) and (train.dtypes == before.dtypes).all()


def test_rows_without_an_image_repeat_nothing(data):
    for row in data.test[:3]:
        same(row, data.train[0], path="none.png")
    train, test = data.run(on_bad_row="quarantine")
    assert not test["usable"][0] and Repeats(train, test).known == []


@needs_real_data
def test_the_april_competition_s_repeats():
    """64 % of its test questions stand in train word for word; its photographs are each shown once."""
    tables = {
        name: pd.read_csv(REAL_DATA / f"recycling2026/{name}.csv", dtype=str, keep_default_na=False)
        for name in ("train", "test")
    }
    train, test = (table.assign(pixels=table["path"]) for table in tables.values())
    repeats = Repeats(train[train["answer"].isin(list(LETTERS))], test)
    assert len(repeats.questions) / len(test) == pytest.approx(0.64, abs=0.03)
    assert repeats.known == [] and repeats.contradictions == [] and 0 < len(repeats.asked) < len(repeats.questions)
