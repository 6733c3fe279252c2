"""Augmentation varies how a row reads, never what is asked or which text is right."""

import random
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import random_qwen
import rows
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import AugmentConfig
from vqaflow.runtime.artifact_store import Store
from vqaflow.training import loop as training_loop
from vqaflow.training.augment import augment_row, paraphrase, shuffle_choices
from vqaflow.training.rows import FoldRows
from vqaflow.training.settings import TrainingPlaces, TrainingSettings
from vqaflow.training.train_adapter import train_adapter

LETTERS = ALL_LETTERS[:4]

ROW = Row("r", "사진에 보이는 동물은 무엇인가요?", ("개", "고양이", "소", "말"), "attribute", "", "", 1, 1, "c")
SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.sampled_from(LETTERS), st.lists(st.text(max_size=8), min_size=4, max_size=4))
def test_shuffling_is_a_bijection_that_keeps_the_answers_text(seed: int, answer: str, texts: list[str]) -> None:
    """A wrong remap would train on wrong answers; choices may be equal or empty."""
    row = replace(ROW, choices=tuple(texts), answer=answer)
    shuffled = shuffle_choices(row, random.Random(seed))
    assert sorted(shuffled.choices) == sorted(row.choices)
    assert shuffled.choices[LETTERS.index(shuffled.answer)] == row.choices[LETTERS.index(answer)]
    assert replace(shuffled, choices=row.choices, answer=answer) == row


def test_shuffling_reaches_every_position() -> None:
    """The answer must not stay where it was."""
    letters = {shuffle_choices(ROW, random.Random(seed)).answer for seed in range(50)}
    assert letters == set(LETTERS)


@pytest.mark.parametrize(
    ("question", "wordings"),
    [
        (
            "사진에 보이는 동물은 무엇인가요?",
            {
                f"{n}{s} 동물은 {e}"
                for n in ("사진", "이미지", "그림")
                for s in ("에 보이는", "에서 볼 수 있는", "에서 보이는")
                for e in ("무엇인가요?", "무엇입니까?", "무엇일까요?")
            },
        ),
        (
            "이미지는 어디인가요?",
            {f"{n} 어디{e}?" for n in ("이미지는", "사진은", "그림은") for e in ("인가요", "입니까", "일까요")},
        ),
        (
            "What color is the car in the image?",
            {f"{w} color is the car in the {n}?" for w in ("What", "Which") for n in ("image", "picture", "photo")},
        ),
        (
            "이 사진은 어디에서 찍힌 것일까요?",
            {f"이 {n} 어디에서 찍힌 것일까요?" for n in ("사진은", "이미지는")},
        ),
    ],
)
def test_paraphrases_are_the_known_wordings(question: str, wordings: set[str]) -> None:
    """Every wording is one that a speaker would take for the same question, particles included."""
    drawn = {paraphrase(question, random.Random(seed)) for seed in range(300)}
    assert drawn <= wordings
    assert len(drawn) > 1


@pytest.mark.parametrize(
    "question",
    [
        "왼쪽에 있는 것은?",
        "벽에 걸린 그림은 몇 점인지 고르세요",
        "Which is left of the tree?",
        "세 번째 간판의 글자를 읽으세요",
        "",
    ],
)
def test_unknown_wordings_stay(question: str) -> None:
    """Directions, negations and pictures within the picture are not touched."""
    assert {paraphrase(question, random.Random(seed)) for seed in range(50)} == {question}


@given(st.text(max_size=60), SEEDS)
def test_paraphrasing_never_adds_or_drops_a_negation_or_direction(question: str, seed: int) -> None:
    """The words that turn a meaning round are as many as before."""
    said = paraphrase(question, random.Random(seed))
    for word in ("not", "no ", "없", "아닌", "왼", "오른", "left", "right"):
        assert said.count(word) == question.count(word)


def test_same_seed_row_and_epoch_give_the_same_row() -> None:
    """A resumed run must see what the interrupted one would have seen."""
    both = AugmentConfig(shuffle_choices=True, paraphrase=True)
    assert augment_row(ROW, both, 1, 2) == augment_row(ROW, both, 1, 2)
    assert len({str(augment_row(ROW, both, 1, epoch)) for epoch in range(20)}) > 5
    assert ROW.answer == "c", "the table's own row stays"


def test_nothing_is_varied_unless_it_is_asked_for() -> None:
    """config.yaml as it is shipped."""
    settings = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))["train"]["augment"]
    assert all(augment_row(ROW, AugmentConfig(**settings), 1, epoch) == ROW for epoch in range(20))


def test_validation_rows_are_never_varied(tmp_path, monkeypatch) -> None:
    """Accuracy on reworded questions would not be that of the questions that are asked."""
    random_qwen.model().save_pretrained(tmp_path / "base")
    random_qwen.processor().save_pretrained(tmp_path / "base")
    table = rows.make_table(tmp_path, 8)
    table.to_parquet(tmp_path / "train.parquet")
    pd.DataFrame({"id": table["id"], "fold": [0, 1] * 4, "group": range(8)}).to_parquet(tmp_path / "folds.parquet")
    varied = []
    monkeypatch.setattr(
        training_loop, "augment_row", lambda row, *rest: varied.append(row.id) or augment_row(row, *rest)
    )
    config = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))
    augment = {"shuffle_choices": True, "paraphrase": True}
    train = config["train"] | {"epochs": 2, "batch_size": 4, "trackers": [], "augment": augment}
    model = vars(rows.model_config(base=str(tmp_path / "base"), max_pixels=56 * 56))
    train_adapter(
        rows=FoldRows(tmp_path / "train.parquet", tmp_path / "folds.parquet", 0),
        settings=TrainingSettings.of(model, config["prompt"], train),
        out=tmp_path / "adapter",
        places=TrainingPlaces(*(tmp_path / name for name in ("work", "bases", "vision", "tracking"))),
        store=Store(tmp_path / "store", 1),
    )
    assert sorted(varied) == sorted(2 * list(table["id"][1::2])), "each training row once an epoch, no other"
