"""Checked train tables whose rows several people answered, as validate_tables leaves them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import share_columns

LETTERS = "abcd"


def with_answers(table: pd.DataFrame, given: Sequence[str], source: str = "dev") -> pd.DataFrame:
    """`table` with the answers that people gave to each row, such as "aabac"; one letter is a gold answer.

    A tie is broken for the last letter, as a digest might.
    """
    counts_NC = np.array([[answers.count(letter) for letter in LETTERS] for answers in given])
    people_N = counts_NC.sum(1)
    shares = dict(zip(share_columns(LETTERS), (counts_NC / people_N[:, None]).T, strict=True))
    best_N = len(LETTERS) - 1 - counts_NC[:, ::-1].argmax(1)
    answers = [LETTERS[best] for best in best_N]
    return table.assign(**shares, people=people_N, answer=answers, source=source)


def drawn_answers(answers: Sequence[str], people: int, agreement: float, seed: int) -> list[str]:
    """For each right answer, those of `people` who know it with probability `agreement`, and else guess."""
    rng = np.random.default_rng(seed)
    return [
        "".join(answer if rng.random() < agreement else LETTERS[rng.integers(4)] for _ in range(people))
        for answer in answers
    ]
