"""The labelling guide's clear-cut cases: which type a question is, and whether mirroring its image could matter.

`guide_type` follows the guide's order of priority. Where `is_final` says so its word stands; elsewhere it is one
feature among those of `question_features`, and a trained model decides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqaflow.question_choices import HANGUL, choice_counts
from vqaflow.question_english import english_parts
from vqaflow.question_korean import Morpheme, korean_parts
from vqaflow.question_names import name_counts
from vqaflow.question_parts import QuestionParts

MOST = 3  # of the four choices
FAMOUS_ENOUGH = 2
NAMED = {"NAME", "BRAND"}
ASKED_AT_SIGHT = {"NAME", "BRAND", "TEXT", "VALUE", "PROPERTY", "COLOR", "NUMBER"}
READABLE = {"TEXT", "VALUE", "SIGN", "TRAFFICSIGN", "NAME", "BRAND", "BUSINESS"}
TURNING = {"SIDE", "CLOCK", "TRAFFICSIGN"}
MEASURES = {"digit", "measured", "only_digits"}
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


def most_of(choices: Mapping[str, int]) -> set[str]:
    """What most of the choices look like."""
    return {name for name, count in choices.items() if count >= MOST}


def guide_type(parts: QuestionParts, choices: Mapping[str, int]) -> str:
    """The type that the guide's clear-cut cases give, in its order of priority; general where none fits."""
    most = most_of(choices)
    if _asks_for_text(parts) or _quotes_notice(parts) or _asks_for_value(parts, most) or _asks_for_label(parts, most):
        return "ocr"
    if _counts(parts, most):
        return "counting"
    if "COLOR" in parts.head | parts.modifiers or ("only_color" in most and not parts.head & NAMED):
        return "color"
    if choices["yes_no"] >= 2:
        return "yesno"
    if parts.word == "WHERE" or "SPOT" in parts.head or _asks_by_place(parts):
        return "location"
    if "PROPERTY" in parts.head or parts.word in ("HOW", "WHEN", "WHY") or "statement" in most or _describes(parts):
        return "attribute"
    return "general"


def is_final(row: Row) -> bool:
    """Whether `row.guide` is beyond doubt: a number, a colour, yes or no, or nothing there could be read."""
    if row.guide in ("location", "attribute"):
        if row.parts.nouns & READABLE:
            return False
        return row.parts.word == "WHERE" or not any(row.choices[name] for name in ("proper", "latin", "labelled"))
    return row.guide in ("counting", "color", "yesno") or (row.guide == "general" and _is_landmark(row))


def _is_landmark(row: Row) -> bool:
    """Whether a name is asked for that one knows by sight of the thing."""
    return "NAME" in row.parts.head and row.choices["famous"] >= FAMOUS_ENOUGH


def _asks_for_text(parts: QuestionParts) -> bool:
    """What is written, in so many words."""
    if "TEXT" in parts.head or ("TEXT" in parts.modifiers and "PROPERTY" in parts.head):
        return True
    of_text = "READ" in parts.verbs or parts.nouns & {"LETTERS", "BOARD"}
    return bool(of_text) and not parts.head & {"COLOR", "NUMBER"}


def _quotes_notice(parts: QuestionParts) -> bool:
    """What must or may not be done is no sight: a notice says it."""
    return "FORBID" in parts.verbs or "OBLIGE" in parts.main_verbs or parts.asks_leave


def _asks_for_value(parts: QuestionParts, most: set[str]) -> bool:
    """A price, a time, a speed, a flavour of something packed, where a bus goes, what a restaurant offers."""
    if parts.word == "COUNT" and not parts.counts_things and "counted" not in most:
        return True
    if parts.word == "AMOUNT" and "NUMBER" not in parts.head and most & MEASURES:
        return True
    if "FLAVOUR" in parts.head and "PRODUCT" in parts.modifiers:
        return True
    at_place = "PLACE" in parts.head or parts.nouns & {"BUSINESS", "SIGN"}
    return "VALUE" in parts.head and bool(at_place or most & MEASURES)


def _asks_for_label(parts: QuestionParts, most: set[str]) -> bool:
    """A name that only a sign or a label tells."""
    if "TRAFFICSIGN" in parts.nouns and ("PLACE" in parts.head or parts.word == "WHERE"):
        return True
    if "station" in most and parts.head & {"PLACE", "BUSINESS", "NAME"}:
        return True
    if "PRODUCT" in parts.head and most & {"labelled", "latin"}:
        return True
    if ("BRAND" in parts.head and "LOOKS" not in parts.nouns) or (
        "NAME" in parts.head and "INDIVIDUAL" in parts.modifiers
    ):
        return True
    return bool(parts.head & NAMED and parts.modifiers & {"BUSINESS", "PRODUCT"} and "LOOKS" not in parts.modifiers)


def _counts(parts: QuestionParts, most: set[str]) -> bool:
    if parts.word == "COUNT":
        return parts.counts_things or "counted" in most
    return "NUMBER" in parts.head and bool(most & {"counted", "only_digits"})


def _asks_by_place(parts: QuestionParts) -> bool:
    if parts.at_head and ("PLACE" in parts.head or "STAND" in parts.main_verbs):
        return True
    by_place = parts.at_relation or "HAND" in parts.nouns
    return by_place and not parts.head & ASKED_AT_SIGHT and "ABSENT" not in parts.verbs


def _describes(parts: QuestionParts) -> bool:
    """Which description fits, what somebody does, what something means."""
    if "THING" in parts.head and "DESCRIBE" in parts.verbs:
        return True
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
    if guide == "ocr" or row.choices["turned"] or row.choices["latin"] or parts.nouns & (TURNING | BEARS_TEXT):
        return True
    named = "NAME" in parts.nouns and "LOOKS" not in parts.nouns and not _is_landmark(row)
    sold = "GOODS" in parts.head or ("SELL" in parts.verbs and "BUSINESS" in parts.nouns)
    return named or sold
