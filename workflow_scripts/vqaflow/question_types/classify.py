"""Question types: what each question asks for, and whether mirroring its image could change the answer.

Types are those of the labelling guide: counting, color, ocr, yesno, location, attribute, general. Two linear models
over yes-or-no features decide (the command question_model trains and measures them).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqaflow.question_types.weights import Weights, shipped_weights

if TYPE_CHECKING:
    from vqaflow.question_types.features import Row


@dataclass(frozen=True, slots=True)
class QuestionType:
    """One question's type, and whether a mirrored image may have another answer or be unreadable."""

    qtype: str
    flip_unsafe: bool


def classify_many(rows: Sequence[Mapping[str, Any]]) -> list[QuestionType]:
    """Type each of `rows`, with the keys question, a, b, … up to j; absent, None and empty choices are skipped."""
    return list(classify(rows))


def classify(rows: Iterable[Mapping[str, Any]]) -> Iterator[QuestionType]:
    """The same as an iterator, for tables that are read row by row."""
    from vqaflow.question_types.reading import read_questions

    weights = shipped_weights()
    return (decide(row, weights) for row in read_questions(rows))


def decide(row: "Row", weights: Weights) -> QuestionType:
    """The type of a row, and whether mirroring is unsafe."""
    from vqaflow.question_types.features import features

    qtype, unsafe = weights.say(features(row))
    return QuestionType(qtype, unsafe >= weights.flip_threshold)
