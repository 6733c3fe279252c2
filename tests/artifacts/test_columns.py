"""The letters of a table are read from its columns, and a row knows which of them it has."""

import pandas as pd
import pytest

from vqaflow.artifacts.columns import (
    ALL_LETTERS,
    LOGIT,
    PROBABILITY,
    letters_in,
    logit_columns,
    probability_columns,
)
from vqaflow.artifacts.rows import FIELDS, rows_of


@pytest.mark.parametrize("count", range(2, 11))
def test_letters_are_those_of_the_columns(count: int):
    """Were a letter overlooked, its choice would neither be shown nor scored."""
    letters = ALL_LETTERS[:count]
    assert letters_in(["id", "question", *letters, "answer"]) == letters
    assert letters_in(["id", *logit_columns(letters)], LOGIT) == letters
    assert letters_in(["id", *probability_columns(letters), "fold"], PROBABILITY) == letters


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_null_cell_is_a_choice_that_the_row_lacks(missing: object):
    """Were a null shown as a choice, the prompt would offer "None" or "nan", and the answer might be that."""
    facts = dict.fromkeys(FIELDS, "x")
    table = pd.DataFrame([facts | {"a": "1", "b": "2", "c": missing}, facts | {"a": "1", "b": missing, "c": "3"}])
    first, second = rows_of(table)
    assert (first.choices, first.letters) == (("1", "2", ""), "ab")
    assert (second.choices, second.letters) == (("1", "", "3"), "ac")


def test_content_of_a_whole_row_is_as_it_was():
    """Were it another, every kept score and adapter would be computed again."""
    facts = dict.fromkeys(FIELDS, "x") | {"width": 5, "height": 7}
    (row,) = rows_of(pd.DataFrame([facts | {"a": "1", "b": "2", "c": "3", "d": "4", "answer": "c"}]))
    assert row.content() == ["x", "x", "1", "2", "3", "4", "x", "x", "5", "7", "c"]
