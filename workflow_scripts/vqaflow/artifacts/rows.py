"""A row of the checked tables as the model code sees it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, letters_in

FIELDS = ("id", "question", "qtype", "image_file", "sha256", "width", "height")


@dataclass(frozen=True, slots=True)
class Row:
    """A question with its choices, in their original letters, and what is known about its image.

    `choices` has one text per letter of the table, "" for a choice that this row lacks. `width` and `height` are in
    pixels, `sha256` is the digest of the image file, `answer` the letter of the right choice (None in the test table).
    """

    id: str
    question: str
    choices: tuple[str, ...]
    qtype: str
    image_file: str
    sha256: str
    width: int
    height: int
    answer: str | None = None

    @property
    def letters(self) -> str:
        """The letters of the choices that this row has, as "abd"."""
        return "".join(letter for letter, text in zip(ALL_LETTERS, self.choices, strict=False) if text)

    def content(self) -> list[str]:
        """All that a score or an adapter depends on, as strings; for the image, its digest and its size."""
        facts = [self.id, self.question, *self.choices, self.qtype, self.sha256, str(self.width), str(self.height)]
        return facts if self.answer is None else [*facts, self.answer]


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows of a checked table, in its order; a null cell of a choice becomes ""."""
    columns = [table[name].tolist() for name in FIELDS]
    choices = zip(*(table[letter].fillna("").tolist() for letter in letters_in(table)), strict=True)
    answers = table["answer"].tolist() if "answer" in table else [None] * len(table)
    return [
        Row(**dict(zip(FIELDS, values, strict=True)), choices=shown, answer=answer)
        for *values, shown, answer in zip(*columns, choices, answers, strict=True)
    ]


def contents(rows: Iterable[Row]) -> list[list[str]]:
    """The `content` of each row, for a digest."""
    return [row.content() for row in rows]


def text_row(question: str, choices: Sequence[str], qtype: str) -> Row:
    """A row without an image, for its prompt only."""
    return Row("text", question, tuple(choices), qtype, "", "", 1, 1)
