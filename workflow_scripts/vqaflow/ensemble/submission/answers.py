"""Which answers a competition accepts: its labels, for the choices that each row has."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqaflow.artifacts.columns import ALL_LETTERS, FEWEST_CHOICES
from vqaflow.artifacts.labels import LETTERS, SIGNS, Choices, Labels, family_labels, read_submission_labels
from vqaflow.artifacts.reading import letters_of_table, read_table

FOUR = ALL_LETTERS[:4]  # where nothing says how many choices there are


@dataclass(frozen=True)
class Accepted:
    """The `labels` of answers, and the `choices` of each row by id, without those that it lacks.

    A row whose choices are not known may have any answer.
    """

    labels: Labels
    choices: Mapping[str, Choices] = field(default_factory=dict)

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of all choices."""
        if self.labels.letters is not None:
            return tuple(sorted(self.labels.letters.values()))
        return tuple(sorted({letter for row in self.choices.values() for letter in row}))

    def letter(self, row_id: str, answer: str) -> str | None:
        """The letter that an answer stands for; None if it stands for none, or for a choice that its row lacks."""
        letters = self.found(row_id, answer)
        row = self.choices.get(row_id)
        return letters[0] if letters and (row is None or letters[0] in row) else None

    def found(self, row_id: str, answer: str) -> list[str]:
        """The letters of an answer as it is written, whether or not the row has them."""
        if self.labels.letters is not None:
            return [self.labels.letters[answer]] if answer in self.labels.letters else []
        if row_id not in self.choices:  # what `label` writes for it is a letter
            return [answer if answer in ALL_LETTERS else ALL_LETTERS[0]] if answer.strip() else []
        return [letter for letter, text in self.choices[row_id].items() if text == answer]

    def label(self, row_id: str, letter: str) -> str:
        """What is written for `letter` in a row; the letter itself, where labels are texts that are not known."""
        return self.labels.label_of(letter, self.choices.get(row_id, {letter: letter}))

    def fault(self, row_id: str, answer: str) -> str | None:
        """What is wrong with an answer, in a word; None if it is right."""
        if self.letter(row_id, answer) is not None:
            return None
        if self.found(row_id, answer):
            return "absent-choice"
        stripped = answer.strip()
        if not stripped:
            return "blank"
        for form, kind in ((stripped, None), (stripped.lower(), "upper-case"), (stripped.upper(), "lower-case")):
            if self.found(row_id, form):
                return "padded" if stripped != answer or kind is None else kind
        own = self.labels.letters
        return "non-letter" if own is not None and all(label.lower() in ALL_LETTERS for label in own) else "unknown"


def choices_by_id(ids: Sequence[str], columns: Mapping[str, Sequence[str | None]]) -> dict[str, Choices]:
    """The choices that each row has, from a table's columns a, b, c and so on.

    A row without two choices, which cannot be used and is answered all the same, is left out.
    """
    found = {}
    for row_id, row in zip(ids, zip(*columns.values(), strict=True), strict=True):
        choices = {letter: text for letter, text in zip(columns, row, strict=True) if text and text.strip()}
        if len(choices) >= FEWEST_CHOICES:
            found[row_id] = choices
    return found


def accepted_of_run(labels: Path, test_table: Path) -> Accepted:
    """The answers that a run's competition accepts, by its labels.json and its checked test table."""
    letters = letters_of_table(test_table, "validate_tables")
    table = read_table(test_table, "validate_tables", ["id", *letters])
    choices = choices_by_id(table["id"].tolist(), {letter: table[letter].fillna("").tolist() for letter in letters})
    return Accepted(read_submission_labels(labels), choices)


def accepted_answers(
    labels: Path | None, sample: Mapping[str, str], given: Iterable[str], choices: Mapping[str, Choices], count: int
) -> Accepted:
    """The answers that a competition accepts: those of the file `labels` (labels.json), else like the `sample`'s.

    The `sample`'s answers are by id. `given` are those of the file in question: where the sample's may count from 0 or
    from 1, they decide. `count` is the number of choices.
    """
    if labels is not None:
        return Accepted(read_submission_labels(labels), choices)
    columns = FOUR if count < 2 else ALL_LETTERS[:count]
    shown = {answer for text in sample.values() if (answer := text.strip())}
    fitting = [family for family in SIGNS if shown <= set(family_labels(family, columns))] if shown else [LETTERS]
    if not fitting:
        texts = Accepted(Labels(None), choices)
        by_text = bool(choices) and all(texts.letter(row_id, answer) for row_id, answer in sample.items() if answer)
        return texts if by_text else Accepted(Labels.of_family(LETTERS, columns), choices)
    counts = Counter(given)
    best = max(fitting, key=lambda family: sum(counts[label] for label in family_labels(family, columns)))
    return Accepted(Labels.of_family(best, columns), choices)
