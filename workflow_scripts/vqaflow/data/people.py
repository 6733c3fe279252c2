"""Several people's answers to each row: which columns hold them, and what they say together.

Shapes: N rows, C choices.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

# What a column of one person's answers is called, before its number.
STEMS = "answers?|ans|labels?|votes?|person|response|정답|답변?|응답|라벨"
PEOPLE = "raters?|annotators?|annotations?|labell?ers?|workers?|평가자|작업자"
NAMED = re.compile(rf"({PEOPLE})[ _.-]\w+", re.IGNORECASE)


def people_columns(header: Sequence[str], answer: str) -> list[str]:
    """The columns of a header that seem to hold the answers of several people, in order; none if it is only one.

    They are called like the column `answer`, or like a person, with a number: answer1, answer_2, annotator 3.
    """
    numbered = re.compile(rf"({re.escape(answer)}|{STEMS}|{PEOPLE})[ _.-]?#?\d{{1,3}}", re.IGNORECASE)
    found: dict[str, list[str]] = {}
    for name in header:
        if match := numbered.fullmatch(name.strip()) or NAMED.fullmatch(name.strip()):
            found.setdefault(match[1].casefold(), []).append(name)
    most = max(found.values(), key=len, default=[])
    return most if len(most) > 1 else []


def shares_of(answers: Sequence[Sequence[str]], letters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The share of each choice among the `answers` of each row (N, C), 0 if there are none, and their number (N)."""
    counts_NC = np.zeros((len(answers), len(letters)))
    place = {letter: number for number, letter in enumerate(letters)}
    for row, given in enumerate(answers):
        for letter, count in Counter(given).items():
            counts_NC[row, place[letter]] = count
    people_N = counts_NC.sum(1)
    return counts_NC / np.maximum(people_N, 1)[:, None], people_N.astype(np.int64)


def plurality(row_id: str, answers: Sequence[str]) -> str:
    """The most frequent of some letters; of several, a digest of the id chooses, so that no letter is favoured."""
    counts = Counter(answers)
    most = max(counts.values())
    tied = sorted(letter for letter, count in counts.items() if count == most)
    digest = hashlib.sha256(row_id.encode("utf-8", "surrogatepass")).digest()
    return tied[int.from_bytes(digest[:8], "big") % len(tied)]
