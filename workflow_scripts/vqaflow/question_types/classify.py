"""Question types: what each question asks for, and whether mirroring its image could change the answer.

Types are those of the labelling guide: counting, color, ocr, yesno, location, attribute, general. Where the guide's
clear cases do not decide, a small model over classes of words does (the command question_model trains and measures it).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vqaflow.artifacts.columns import LETTERS
from vqaflow.question_types.features import features
from vqaflow.question_types.guide import Row, is_final, mirror_matters
from vqaflow.question_types.weights import Weights, shipped_weights

NEEDED = ("id", "question", *LETTERS)


@dataclass(frozen=True, slots=True)
class QuestionType:
    """One question's type, and whether a mirrored image may have another answer or be unreadable."""

    qtype: str
    flip_unsafe: bool


def classify_many(rows: Sequence[Mapping[str, str]]) -> list[QuestionType]:
    """Type each of `rows`, which have the keys question, a, b, c and d."""
    return list(classify(rows))


def classify(rows: Iterable[Mapping[str, str]]) -> Iterator[QuestionType]:
    """The same as an iterator, for tables that are read row by row."""
    from vqaflow.question_types.reading import read_questions

    weights = shipped_weights()
    return (decide(row, weights) for row in read_questions(rows))


def decide(row: Row, weights: Weights) -> QuestionType:
    """The type of a row: the guide's if it is final, otherwise the model's."""
    scores, flip_score = weights.scores(features(row))
    qtype = row.guide if is_final(row) else weights.types[int(scores.argmax())]
    by_model = not is_final(row) and (qtype == "ocr" or flip_score >= weights.flip_threshold)
    return QuestionType(qtype, mirror_matters(row) or by_model)
