"""The yes-or-no features by which the model of `question_model` types a question.

They speak of classes of words and looks of choices only, never of single words: so a few hundred labelled questions
teach weights that hold for words, and for a language, that are not among them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqaflow.question_choices import HANGUL, choice_counts
from vqaflow.question_english import english_parts
from vqaflow.question_korean import Morpheme, korean_parts
from vqaflow.question_names import name_counts
from vqaflow.question_parts import QuestionParts

NAMED = {"NAME", "BRAND"}
# Looks of choices that mean something else with each noun asked for.
TELLING = (
    "proper",
    "latin",
    "sign_name",
    "looks_name",
    "statement",
    "digit",
    "turned",
    "at_place",
    "labelled",
    "famous",
    "vehicle",
)
PAIRED_HEADS = {"NAME", "BRAND", "TEXT", "VALUE", "TRAFFICSIGN", "THING", "PLACE"}
PAIRED_NOUNS = {"BUSINESS", "PRODUCT", "LOOKS", "SIGN", "TRAFFICSIGN"}
ASKED_AT_SIGHT = {"NAME", "BRAND", "TEXT", "VALUE", "PROPERTY", "COLOR", "NUMBER"}
READABLE = {"TEXT", "VALUE", "SIGN", "TRAFFICSIGN", "NAME", "BRAND", "BUSINESS"}
TURNING = {"SIDE", "CLOCK", "TRAFFICSIGN"}
BEARS_TEXT = {"TEXT", "SIGN"}
CAPITAL_INSIDE = re.compile(r".[A-Z]")


@dataclass(frozen=True, slots=True)
class Row:
    """A question with its choices, read: `parts` of the question, and how many `choices` look like what."""

    parts: QuestionParts
    choices: dict[str, int]
    guide: str
    """What `guide_type` says of both."""


def read_row(question: str, choices: Sequence[str], morphemes: Sequence[Morpheme], proper_names: int) -> Row:
    """Read one row; `morphemes` are the question's, `proper_names` counts the choices that hold a proper noun."""
    stripped = [choice.strip() for choice in choices]
    counts = {**choice_counts(stripped), **name_counts(stripped)}
    if HANGUL.search(question):
        parts = korean_parts(question, morphemes)
        counts["proper"] = proper_names
    else:  # to an English question Latin letters are nothing special, but capitals inside a choice are
        parts = english_parts(question)
        counts |= {"latin": 0, "proper": sum(bool(CAPITAL_INSIDE.search(choice)) for choice in stripped)}
    return Row(parts, counts, guide_type(parts, counts))


def guide_type(parts: QuestionParts, choices: Mapping[str, int]) -> str:
    """The type that the guide's clear-cut cases give, in its order of priority; general where none fits."""
    most = {name for name, count in choices.items() if count >= 3}
    if _must_be_read(parts, most):
        return "ocr"
    if (parts.word == "COUNT" and (parts.counts_things or "counted" in most)) or (
        "NUMBER" in parts.head and most & {"counted", "only_digits"}
    ):
        return "counting"
    if "COLOR" in parts.head | parts.modifiers or ("only_color" in most and not parts.head & NAMED):
        return "color"
    if choices["yes_no"] >= 2:
        return "yesno"
    if parts.word == "WHERE" or "SPOT" in parts.head or _asks_by_place(parts):
        return "location"
    if "THING" in parts.head and "DESCRIBE" in parts.verbs:
        return "attribute"
    if (
        "PROPERTY" in parts.head
        or parts.word in ("HOW", "WHEN", "WHY")
        or "statement" in most
        or _asks_action_or_meaning(parts)
    ):
        return "attribute"
    return "general"


def is_final(row: Row) -> bool:
    """Whether `row.guide` is beyond doubt: a number, a colour, yes or no, or nothing there could be read."""
    if row.guide in ("location", "attribute"):
        if row.parts.nouns & READABLE:
            return False
        return row.parts.word == "WHERE" or not any(row.choices[name] for name in ("proper", "latin", "labelled"))
    return row.guide in ("counting", "color", "yesno")


def _must_be_read(parts: QuestionParts, most: set[str]) -> bool:
    if "TEXT" in parts.head or ("READ" in parts.verbs and not parts.head & {"COLOR", "NUMBER"}):
        return True
    # What must or must not be done is no sight: a notice says it.
    if "FORBID" in parts.verbs or "OBLIGE" in parts.main_verbs or parts.asks_leave:
        return True
    if "TEXT" in parts.modifiers and "PROPERTY" in parts.head:
        return True
    measured = most & {"digit", "measured", "only_digits"}
    if measured and ("VALUE" in parts.head or (parts.word == "AMOUNT" and "NUMBER" not in parts.head)):
        return True
    if parts.word == "COUNT" and not parts.counts_things and "counted" not in most:
        return True
    if parts.nouns & {"LETTERS", "BOARD"} and not parts.head & {"COLOR", "NUMBER"}:
        return True
    if "FLAVOUR" in parts.head and "PRODUCT" in parts.modifiers:
        return True
    if "PRODUCT" in parts.head and most & {"labelled", "latin"}:
        return True
    if "BRAND" in parts.head and not parts.nouns & {"LOOKS"}:
        return True
    if "NAME" in parts.head and "INDIVIDUAL" in parts.modifiers:
        return True
    if "station" in most and parts.head & {"PLACE", "BUSINESS", "NAME"}:
        return True
    return bool(parts.head & NAMED and parts.modifiers & {"BUSINESS", "PRODUCT"} and "LOOKS" not in parts.modifiers)


def _asks_by_place(parts: QuestionParts) -> bool:
    by_place = parts.at_relation or "HAND" in parts.nouns
    return by_place and not parts.head & ASKED_AT_SIGHT and "ABSENT" not in parts.verbs


def _asks_action_or_meaning(parts: QuestionParts) -> bool:
    if parts.word != "WHAT":
        return False
    if "MEAN" in parts.verbs:
        return parts.role == "OBJECT" or "THING" in parts.head
    return parts.role == "OBJECT" and "DO" in parts.main_verbs


def mirror_matters(row: Row) -> bool:
    """Whether the guide calls the row unsafe to mirror beyond doubt: left and right are told, or text is at stake."""
    parts, guide = row.parts, row.guide
    if guide in ("counting", "color"):
        return "SIDE" in parts.nouns
    if guide == "yesno":
        return bool(parts.nouns & {"SIDE", "CLOCK", "TEXT"} or "READ" in parts.verbs)
    if (
        guide == "ocr"
        or row.choices["turned"]
        or row.choices["latin"]
        or parts.nouns & TURNING | parts.nouns & BEARS_TEXT
    ):
        return True
    named = "NAME" in parts.nouns and "LOOKS" not in parts.nouns
    sold = "GOODS" in parts.head or ("SELL" in parts.verbs and "BUSINESS" in parts.nouns)
    return named or sold


def features(row: Row) -> set[str]:
    """Names of the features that hold for `row`."""
    parts, counts = row.parts, row.choices
    most = {name for name, count in counts.items() if count >= 3}
    guide = row.guide
    found = {f"guide={guide}", f"word={parts.word}", f"role={parts.role}"}
    found |= {f"head={c}" for c in parts.head} | {f"of={c}" for c in parts.modifiers or {"NOTHING"}}
    found |= {f"noun={c}" for c in parts.nouns} | {f"verb={c}" for c in parts.verbs}
    found |= {f"says={c}" for c in parts.main_verbs}
    found |= {f"some {name}" for name, count in counts.items() if count} | {f"most {name}" for name in most}
    if parts.asks_kind:
        found.add("asks kind")
    if parts.at_relation:
        found |= {"at relation"} | {f"at relation, head={c}" for c in parts.head}
    found |= {f"head={c} of={m}" for c in parts.head & PAIRED_HEADS for m in parts.modifiers or {"NOTHING"}}
    looks = [f"most {name}" for name in TELLING if name in most] or ["plain choices"]
    whats = [f"head={c}" for c in parts.head] + [f"noun={c}" for c in parts.nouns & PAIRED_NOUNS]
    found |= {f"{what}, {look}" for what in whats for look in looks}
    found |= {f"guide={guide}, {look}" for look in looks}
    found |= {f"guide={guide}, noun={c}" for c in parts.nouns & PAIRED_NOUNS}
    if mirror_matters(row):
        found.add("mirror matters")
    return found
