"""Names of columns that several artifacts share, each list in this one place.

Choices are a, b, c, … internally. How many a table has, 2 to 10, is read from its columns (`letters_in`).
"""

from collections.abc import Iterable, Sequence

ALL_LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
FEWEST_CHOICES, MOST_CHOICES = 2, len(ALL_LETTERS)
QTYPES = ("counting", "color", "ocr", "yesno", "location", "attribute", "general")
LOGIT, PROBABILITY, SHARE = "logit_", "p_", "share_"
PEOPLE, SOURCE = "people", "source"  # of the checked train table: how many people answered, which table a row is from


def letters_in(columns: Iterable[str], prefix: str = "") -> tuple[str, ...]:
    """The letters a, b, c, … that a checked table has columns for, up to the first that it lacks.

    With `prefix` LOGIT or PROBABILITY they are those of a file of scores or probabilities.
    """
    names = set(columns)
    missing = (number for number, letter in enumerate(ALL_LETTERS) if prefix + letter not in names)
    return ALL_LETTERS[: next(missing, MOST_CHOICES)]


def logit_columns(letters: Sequence[str]) -> list[str]:
    """The columns of a score file: the logits of the original letters, -inf for a choice that the row lacks."""
    return [LOGIT + letter for letter in letters]


def probability_columns(letters: Sequence[str]) -> list[str]:
    """The columns of a file of probabilities; a choice that the row lacks has exactly 0."""
    return [PROBABILITY + letter for letter in letters]


def probabilities_in(columns: Iterable[str]) -> list[str]:
    """The columns p_a, p_b, … of a file of probabilities, as far as it has them."""
    return probability_columns(letters_in(columns, PROBABILITY))


def share_columns(letters: Sequence[str]) -> list[str]:
    """The columns of a checked table with the share of people that answered with each letter."""
    return [SHARE + letter for letter in letters]
