"""Augmentation varies how a row reads, never what is asked or which text is right."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqaflow.augment import augment_row, paraphrase, shuffle_choices
from vqaflow.config import LETTERS, AugmentConfig

ROW = {
    "id": "r",
    "question": "사진에 보이는 동물은 무엇인가요?",
    "a": "개",
    "b": "고양이",
    "c": "소",
    "d": "말",
    "answer": "c",
}
SEEDS = st.integers(0, 10_000)


@given(SEEDS, st.sampled_from(LETTERS))
def test_shuffling_is_a_bijection_that_keeps_the_answers_text(seed: int, answer: str) -> None:
    """A wrong remap would train on wrong answers."""
    row = {**ROW, "answer": answer}
    shuffled = shuffle_choices(row, random.Random(seed))
    assert sorted(shuffled[x] for x in LETTERS) == sorted(row[x] for x in LETTERS)
    assert shuffled[shuffled["answer"]] == row[answer]
    assert shuffled["question"] == row["question"]


def test_shuffling_reaches_every_position() -> None:
    """The answer must not stay where it was."""
    letters = {shuffle_choices(ROW, random.Random(seed))["answer"] for seed in range(50)}
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
    """A resumed run must see what the interrupted one would have seen; with both switches off nothing changes."""
    both = AugmentConfig(shuffle_choices=True, paraphrase=True)
    assert augment_row(ROW, both, 1, 2) == augment_row(ROW, both, 1, 2)
    assert len({str(augment_row(ROW, both, 1, epoch)) for epoch in range(20)}) > 5
    assert augment_row(ROW, AugmentConfig(shuffle_choices=False, paraphrase=False), 1, 2) == ROW
