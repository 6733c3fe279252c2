"""One normal form for questions and choices, in training and scoring alike."""

import unicodedata
from collections.abc import Sequence

# Joiners shape Arabic, Indic scripts and emoji; all other invisible format characters only make equal texts differ.
KEPT_FORMAT_CHARACTERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def normalize(text: str, form: str) -> str:
    """`text` in Unicode normal form NFC or NFKC (which folds full-width forms), white space collapsed; idempotent.

    Invisible control and format characters are removed. ``<|``, which opens every special token of the model
    (``<|im_end|>``), is broken by a space: text from a table must never end a turn or pose as an image.
    """
    visible = "".join(_visible(character) for character in text)
    composed = unicodedata.normalize(form, visible)
    return " ".join(composed.split()).replace("<|", "< |")


def _visible(character: str) -> str:
    if character in KEPT_FORMAT_CHARACTERS:
        return character
    category = unicodedata.category(character)
    if category == "Cc":
        return " "
    return "" if category == "Cf" else character


def normalize_choices(choices: Sequence[str], form: str) -> list[str]:
    """The normalised choices; choices that differ but would become equal stay unchanged.

    The difference between ``３`` and ``3`` may be the point of a question, and equal choices cannot be distinguished.
    """
    normal = [normalize(choice, form) for choice in choices]
    return [
        _harmless(raw) if merged else text
        for raw, text, merged in zip(choices, normal, merged_by_normalizing(choices, form), strict=True)
    ]


def merged_by_normalizing(choices: Sequence[str], form: str) -> list[bool]:
    """For each choice, whether it equals another, different choice once both are normalised."""
    normal = [normalize(choice, form) for choice in choices]
    return [
        any(normal[i] == normal[j] and choices[i] != choices[j] for j in range(len(choices)))
        for i in range(len(choices))
    ]


def _harmless(raw: str) -> str:
    """`raw` without line breaks (a choice is one line) and without the start of a special token."""
    return " ".join(raw.splitlines()).replace("<|", "< |")
