"""A row of the checked tables as the model code sees it.

Shapes: N rows, C choices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import ALL_LETTERS, FEWEST_CHOICES, PEOPLE, SOURCE, letters_in, share_columns
from vqaflow.artifacts.reading import columns_in, read_table

FIELDS = ("id", "question", "qtype", "image_file", "sha256", "width", "height")


@dataclass(frozen=True, slots=True)
class Row:
    """A question with its choices, in their original letters, and what is known about its image.

    `choices` has one text per letter of the table, "" for a choice that this row lacks. `width` and `height` are in
    pixels, `sha256` is the digest of the image file, `answer` the letter of the right choice (None in the test table).
    Where several people answered, `shares` says for each letter which share of the `people` gave it, and `answer` is
    the letter that most of them gave. `source` is the table that the row is from. `weight` is how much the row's loss
    counts in training. A row without a usable image has no size (0) and no digest (""). `transcript` is what the base
    read in the image, for a view that reads; it follows from the content and the base. `taught` is the probability that
    a teacher gives each letter. `flip_unsafe` says that the answer may change if the image is mirrored, `mirrored` that
    it is shown so.
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
    shares: tuple[float, ...] | None = None
    people: int = 1
    source: str = ""
    weight: float = 1.0
    transcript: str | None = None
    taught: tuple[float, ...] | None = None
    flip_unsafe: bool = True
    mirrored: bool = False

    def asked(self) -> list[str]:
        """All that a score depends on, as strings; for the image, its digest and its size."""
        return [self.id, self.question, *self.choices, self.qtype, self.sha256, str(self.width), str(self.height)]

    @property
    def letters(self) -> str:
        """The letters of the choices that this row has, as "abd"; all if it has fewer than two (see `own_letters`)."""
        every = ALL_LETTERS[: len(self.choices)]
        own = "".join(letter for letter, text in zip(every, self.choices, strict=True) if text)
        return own if len(own) >= FEWEST_CHOICES else "".join(every)

    def content(self) -> list[str]:
        """All that an adapter depends on: what is asked, and the answers that it learns or is measured by."""
        facts = self.asked() if self.answer is None else [*self.asked(), self.answer]
        if self.shares is not None:
            facts += ["shares", *map(repr, self.shares)]
        if self.taught is not None:
            facts += ["taught", *map(repr, self.taught)]
        return facts if self.weight == 1 else [*facts, "weight", repr(self.weight)]

    def target(self) -> tuple[float, ...]:
        """The probability of each original letter that training aims at: the shares, or 1 for the answer."""
        return self.shares or tuple(float(letter == self.answer) for letter in ALL_LETTERS[: len(self.choices)])


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows of a checked table, in its order; a null cell of a choice becomes ""."""
    columns = [(table[name].fillna("") if name == "sha256" else table[name]).tolist() for name in FIELDS]
    choices = zip(*(table[letter].fillna("").tolist() for letter in letters_in(table)), strict=True)
    given = {
        "answer": table["answer"].tolist() if "answer" in table else [None] * len(table),
        "shares": _shares(table),
        "people": table[PEOPLE].tolist() if PEOPLE in table else [1] * len(table),
        "source": table[SOURCE].tolist() if SOURCE in table else [""] * len(table),
        "flip_unsafe": table["flip_unsafe"].tolist() if "flip_unsafe" in table else [True] * len(table),
    }
    return [
        Row(**dict(zip(FIELDS, values, strict=True)), choices=shown, **dict(zip(given, known, strict=True)))
        for *values, shown, known in zip(*columns, choices, zip(*given.values(), strict=True), strict=True)
    ]


def shares_in(table: pd.DataFrame) -> np.ndarray | None:
    """The share of people who gave each letter (N, C); None if no table had several answerers."""
    names = [name for name in share_columns(ALL_LETTERS) if name in table]
    return table[names].to_numpy(float) if names else None


def read_shares(path: Path) -> np.ndarray | None:
    """`shares_in` of a checked train table. Raises UserError if it is missing or damaged."""
    names = columns_in(path, "validate_tables", share_columns(ALL_LETTERS))
    return shares_in(read_table(path, "validate_tables", names)) if names else None


def _shares(table: pd.DataFrame) -> Sequence[tuple[float, ...] | None]:
    shares_NC = shares_in(table)
    return [None] * len(table) if shares_NC is None else [tuple(shares) for shares in shares_NC.tolist()]


def contents(rows: Iterable[Row]) -> list[list[str]]:
    """The `content` of each row, for the digest of an adapter."""
    return [row.content() for row in rows]


def all_asked(rows: Iterable[Row]) -> list[list[str]]:
    """What each row asks, for the digest of scores: they do not depend on the answers."""
    return [row.asked() for row in rows]


def text_row(question: str, choices: Sequence[str], qtype: str) -> Row:
    """A row without an image, for its prompt only."""
    return Row("text", question, tuple(choices), qtype, "", "", 1, 1)
