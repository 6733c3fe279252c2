"""How a competition writes its answers: families of labels, and labels.json, which says what a run reads and writes.

Inside, choices are always the letters a, b, c, …. A label is what the user's tables write for one of them: a letter, a
number, the name of its column, or the choice's own text.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.encodings.names import codec_of
from vqaflow.runtime.errors import UserError

LETTERS, CAPITALS, FROM_1, FROM_0, CIRCLED, KOREAN = "letters", "capitals", "from 1", "from 0", "circled", "korean"
COLUMNS, TEXTS = "columns", "texts"
SIGNS = {  # the labels of ten choices
    LETTERS: ALL_LETTERS,
    CAPITALS: tuple(letter.upper() for letter in ALL_LETTERS),
    FROM_1: tuple(str(number) for number in range(1, 11)),
    FROM_0: tuple(str(number) for number in range(10)),
    CIRCLED: tuple("①②③④⑤⑥⑦⑧⑨⑩"),
    KOREAN: tuple("가나다라마바사아자차"),
}
FAMILIES = (*SIGNS, COLUMNS, TEXTS)  # the names that data.answers and data.submission_labels take
Choices = Mapping[str, str | None]  # the texts of a row's choices by letter; empty or None where the row lacks one


def family_labels(family: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The labels of the choices in the user's `columns`, in their order; none for TEXTS, which differ by row."""
    if family == TEXTS:
        return ()
    return tuple(columns) if family == COLUMNS else SIGNS[family][: len(columns)]


@dataclass(frozen=True)
class Labels:
    """What stands for each choice: `letters` maps labels to letters; None where a choice's own text stands for it."""

    letters: Mapping[str, str] | None

    @classmethod
    def of_family(cls, family: str, columns: Sequence[str]) -> "Labels":
        """The labels of a family for the choices in the user's `columns`."""
        if family == TEXTS:
            return cls(None)
        return cls(dict(zip(family_labels(family, columns), ALL_LETTERS, strict=False)))

    def letters_of(self, label: str, choices: Choices) -> list[str]:
        """The letters that `label` may stand for in a row: one if it is right, two if two choices have this text."""
        if self.letters is not None:
            return [self.letters[label]] if label in self.letters else []
        plain = plain_text(label)
        return [letter for letter, text in choices.items() if text and plain_text(text) == plain]

    def label_of(self, letter: str, choices: Choices) -> str:
        """What is written for `letter` in a row with these `choices`."""
        if self.letters is None:
            text = choices[letter]
            assert text, f"{letter} is not a choice of the row"
            return text
        return next(label for label, own in self.letters.items() if own == letter)

    @property
    def is_one_to_one(self) -> bool:
        """Whether no letter has two labels, so that answers can be written with them."""
        return self.letters is None or len(set(self.letters.values())) == len(self.letters)

    @property
    def is_plain(self) -> bool:
        """Whether each label is the letter itself."""
        return self.letters is not None and all(label == letter for label, letter in self.letters.items())

    def __str__(self) -> str:
        if self.letters is None:
            return "as the texts of the choices"
        by_letter = sorted(self.letters, key=lambda label: self.letters[label])  # type: ignore[index]
        for labels in SIGNS.values():
            if tuple(by_letter) == labels[: len(by_letter)] and len(by_letter) > 1:
                return f"{by_letter[0]} to {by_letter[-1]}"
        return ", ".join(by_letter)


def plain_text(text: str) -> str:
    """A text by which two that look alike are equal."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def labels_content(
    answers: Labels, submission: Labels, more: Mapping[str, Labels], encoding: str | None = None
) -> dict[str, Any]:
    """What labels.json holds: "answers" maps labels to letters, "submission" letters to labels, or they say "texts".

    `more` are the labels of further training tables by their name, which follow under "more_train". `encoding` is
    that of the sample submission, if it was named.
    """
    written = submission.letters
    content: dict[str, Any] = {
        "answers": TEXTS if answers.letters is None else dict(answers.letters),
        "submission": TEXTS if written is None else {letter: label for label, letter in written.items()},
    }
    others = {name: TEXTS if labels.letters is None else dict(labels.letters) for name, labels in more.items()}
    content |= {"more_train": others} if others else {}
    return content | ({"encoding": encoding} if encoding else {})


def sample_encoding(path: Path | None) -> str | None:
    """The encoding that the user has named for the tables, from labels.json; None without one."""
    from vqaflow.artifacts.reading import read_json

    content = read_json(path, "validate_tables") if path else None
    encoding = content.get("encoding") if isinstance(content, dict) else None
    return encoding if isinstance(encoding, str) and codec_of(encoding) else None


def read_submission_labels(path: Path) -> Labels:
    """The labels that the submission is written in, from labels.json. Raises UserError if the file has none."""
    from vqaflow.artifacts.reading import read_json  # the configuration is checked without pandas

    written = read_json(path, "validate_tables", ["submission"])["submission"]
    if written == TEXTS:
        return Labels(None)
    if not isinstance(written, dict) or not set(written) <= set(ALL_LETTERS) or len(written) < 2:
        raise UserError(f"{path}: its 'submission' does not map letters to labels. Run the rule validate_tables again.")
    return Labels({str(label): letter for letter, label in written.items()})
