"""The demo's tables: what would break if a row, a picture or a translation were wrong."""

import easy_vqa
import pandas as pd
import pytest
from PIL import Image

from folders import folder_digest
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.demo.prepare_demo import digit_images, pools, prepare_demo
from vqaflow.demo.questions import COLORS, KINDS, KOREAN, SHAPES, kind_and_korean
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError

LETTERS = ALL_LETTERS[:4]

SIZE = {"train_rows": 160, "test_rows": 80, "seed": 3, "shuffle_answers": False}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    prepare_demo(demo=SIZE, out=folder)
    return folder


def read(folder, name):
    return pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)


def kind_of(row):
    if row.path.split("/")[1].startswith("digit"):
        return "digit"
    words = {row.a, row.b, row.c, row.d}
    both = [set(family) | set(family.values()) for family in (COLORS, SHAPES)]
    return "color" if words <= both[0] else "shape" if len(words & both[1]) == 3 else "yesno"


def is_korean(text):
    return any("가" <= character <= "힣" for character in text)


def test_tables_have_the_competition_s_columns(demo):
    train, test = read(demo, "train"), read(demo, "test")
    assert list(train) == ["id", "path", "question", "a", "b", "c", "d", "answer"] and len(train) == 160
    assert list(test) == ["id", "path", "question", "a", "b", "c", "d"] and len(test) == 80
    assert train.id.is_unique and test.id.is_unique


def test_sample_submission_is_empty_and_answers_stand_apart(demo):
    sample, answers, test = read(demo, "sample_submission"), read(demo, "test_answers"), read(demo, "test")
    assert list(sample.id) == list(answers.id) == list(test.id)
    assert set(sample.answer) == {""} and set(answers.answer) == set(LETTERS)


def test_four_distinct_choices_and_answers_balanced(demo):
    for table in (read(demo, "train"), read(demo, "test").merge(read(demo, "test_answers"))):
        assert all(len({row.a, row.b, row.c, row.d}) == 4 for row in table.itertuples())
        assert table.answer.value_counts().tolist() == [len(table) // 4] * 4


def test_kinds_and_languages_are_evenly_mixed(demo):
    table = read(demo, "train")
    cells = pd.Series([(kind_of(row), is_korean(row.question)) for row in table.itertuples()])
    assert cells.value_counts().to_dict() == {(kind, korean): 20 for kind in KINDS for korean in (False, True)}


def test_choices_speak_the_question_s_language(demo):
    for row in read(demo, "train").itertuples():
        words = [word for word in (row.a, row.b, row.c, row.d) if not word.isdigit()]
        assert all(is_korean(word) == is_korean(row.question) for word in words)


def test_answers_are_the_published_ones(demo):
    """The right letter is easy-VQA's own answer to a question about that image (either language)."""
    published = set()
    for question, answer, image in zip(*easy_vqa.get_train_questions(), strict=True):
        name = f"train/shape_{image:04d}.png"
        published |= {(name, question, answer), (name, kind_and_korean(question)[1], KOREAN[answer])}
    digits = {f"train/digit_{index:04d}.png": str(digit) for index, digit in digit_images("train")}
    for row in read(demo, "train").itertuples():
        right = getattr(row, row.answer)
        if kind_of(row) == "digit":
            assert digits[row.path] == right
        else:
            assert (row.path, row.question, right) in published


def test_every_easy_vqa_question_has_one_korean_wording_that_keeps_negation():
    questions = set(easy_vqa.get_train_questions()[0]) | set(easy_vqa.get_test_questions()[0])
    korean = {question: kind_and_korean(question)[1] for question in questions}
    assert len(set(korean.values())) == len(questions) == 107
    for question, wording in korean.items():
        negated = " not " in question or "is no " in question
        assert negated == ("없나요" in wording or "않나요" in wording)
        assert not any("a" <= character <= "z" for character in wording)


def test_images_open_and_none_is_in_both_splits(demo):
    for split in ("train", "test"):
        table = read(demo, split)
        assert table.path.is_unique
        assert all(Image.open(demo / path).size == (64, 64) for path in table.path)
    digests = [{file_digest(path) for path in (demo / split).iterdir()} for split in ("train", "test")]
    assert not digests[0] & digests[1] and [len(d) for d in digests] == [160, 80]
    for kind in ("digit", "yesno"):
        images = [{source.image for source in pools(split)[kind, "en"]} for split in ("train", "test")]
        assert kind == "yesno" or not images[0] & images[1]  # easy-VQA numbers each split from 0


def test_equal_seeds_give_equal_bytes(demo, tmp_path):
    prepare_demo(demo=SIZE, out=tmp_path / "again")
    assert folder_digest(tmp_path / "again") == folder_digest(demo)
    prepare_demo(demo=SIZE | {"seed": 4}, out=tmp_path / "other")
    assert folder_digest(tmp_path / "other") != folder_digest(demo)


def test_shuffled_answers_change_nothing_else(demo, tmp_path):
    """The control must differ from the demo only by the order of its training answers."""
    prepare_demo(demo=SIZE | {"shuffle_answers": True}, out=tmp_path / "control")
    real, control = read(demo, "train"), read(tmp_path / "control", "train")
    assert real.drop(columns="answer").equals(control.drop(columns="answer"))
    assert sorted(real.answer) == sorted(control.answer)
    assert (real.answer == control.answer).mean() < 0.5
    for name in ("test", "test_answers", "sample_submission"):
        assert read(demo, name).equals(read(tmp_path / "control", name))


@pytest.mark.parametrize("rows", [0, 10**6])
def test_impossible_size_names_the_key(tmp_path, rows):
    with pytest.raises(UserError, match=r"data\.demo\.test_rows.*Give"):
        prepare_demo(demo=SIZE | {"test_rows": rows}, out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
