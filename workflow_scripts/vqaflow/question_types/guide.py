"""The labelling guide's clear cases: which type a question is, and whether mirroring its image could matter.

`guide_type` follows the guide's order of priority. Where `is_final` is true, its answer stands; elsewhere it is one
of the features in features.py, and a trained model decides.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqaflow.question_types.choices import HANGUL, choice_counts
from vqaflow.question_types.english import english_parts
from vqaflow.question_types.korean import Morpheme, korean_parts
from vqaflow.question_types.names import name_counts
from vqaflow.question_types.parts import QuestionParts

MOST = 3  # of the four choices
FAMOUS_ENOUGH = 2
NAMED = {"NAME", "BRAND"}
ASKED_AT_SIGHT = {"NAME", "BRAND", "TEXT", "VALUE", "PROPERTY", "COLOR", "NUMBER"}
READABLE = {"TEXT", "VALUE", "SIGN", "TRAFFICSIGN", "NAME", "BRAND", "BUSINESS"}
MEASURES = {"digit", "measured", "only_digits"}
BEARS_TEXT = {"TEXT", "SIGN"}
CAPITAL_INSIDE = re.compile(r".[A-Z]")


@dataclass(frozen=True, slots=True)
class Row:
    """A question that was read: its `parts`, and how many of its `choices` have each look."""

    parts: QuestionParts
    choices: dict[str, int]
    guide: str
    """The type that `guide_type` gives for both."""


def read_row(question: str, choices: Sequence[str], morphemes: Sequence[Morpheme], proper_names: int) -> Row:
    """Read one row; `morphemes` are the question's, `proper_names` counts the choices that hold a proper noun."""
    stripped = [choice.strip() for choice in choices]
    counts = {**choice_counts(stripped), **name_counts(stripped)}
    if HANGUL.search(question):
        parts = korean_parts(question, morphemes)
        counts["proper"] = proper_names
    else:  # in an English question Latin letters are nothing special, but capitals inside a choice are
        parts = english_parts(question)
        counts |= {"latin": 0, "proper": sum(bool(CAPITAL_INSIDE.search(choice)) for choice in stripped)}
    return Row(parts, counts, guide_type(parts, counts))


def most_of(choices: Mapping[str, int]) -> set[str]:
    """What most of the choices look like."""
    return {name for name, count in choices.items() if count >= MOST}


def guide_type(parts: QuestionParts, choices: Mapping[str, int]) -> str:
    """The type that the guide's clear cases give, in its order of priority; general where none fits."""
    most = most_of(choices)
    if (
        _asks_for_text(parts)
        or "quoted" in most
        or _quotes_notice(parts)
        or _asks_for_value(parts, most)
        or _asks_for_label(parts, choices)
    ):
        return "ocr"
    if _counts(parts, most):
        return "counting"
    if "COLOR" in parts.head | parts.modifiers or ("only_color" in most and not parts.head & NAMED):
        return "color"
    if choices["yes_no"] >= 2:
        return "yesno"
    if parts.word == "WHAT" and parts.role == "OBJECT" and "DO" in parts.main_verbs:
        return "attribute"  # what somebody does, wherever they stand
    if (parts.word == "WHERE" and not parts.head & NAMED) or "SPOT" in parts.head or _asks_by_place(parts):
        return "location"
    if "LIMB" in parts.head and choices["turned"]:
        return "location"
    if "PROPERTY" in parts.head or parts.word in ("HOW", "WHEN", "WHY") or "statement" in most or _describes(parts):
        return "attribute"
    return "general"


def is_final(row: Row) -> bool:
    """Whether `row.guide` is beyond doubt: a number, a colour, yes or no, or nothing that could be read."""
    if row.guide in ("location", "attribute"):
        if row.parts.nouns & READABLE:
            return False
        return row.parts.word == "WHERE" or not any(row.choices[name] for name in ("proper", "latin", "labelled"))
    return row.guide in ("counting", "color", "yesno") or (row.guide == "general" and _is_known_by_sight(row))


def _is_known_by_sight(row: Row) -> bool:
    """Whether the question asks for a name that is known from the look of the thing: a landmark, a car."""
    asked = row.parts.head
    if _is_artwork(row.parts):
        return True
    if asked & NAMED and "LOOKS" in row.parts.nouns and row.choices["vehicle"] >= FAMOUS_ENOUGH:
        return True
    return "NAME" in asked and row.choices["famous"] >= FAMOUS_ENOUGH


def _is_artwork(parts: QuestionParts) -> bool:
    """Whether the question asks for the title of a well-known work, such as the Mona Lisa."""
    return "TITLE" in parts.head and "ARTWORK" in parts.modifiers


def _asks_for_text(parts: QuestionParts) -> bool:
    """Whether the question asks explicitly for what is written."""
    if _is_artwork(parts):
        return False
    if "TEXT" in parts.head or ("TEXT" in parts.modifiers and "PROPERTY" in parts.head):
        return True
    if parts.head & {"COLOR", "NUMBER"}:
        return False
    if "READ" in parts.verbs or ("PRINT" in parts.verbs and "LOOKS" not in parts.head):
        return True
    return ("LETTERS" in parts.nouns or "BOARD" in parts.nouns) and not _is_of_board(parts)


def _is_of_board(parts: QuestionParts) -> bool:
    """Whether boards are counted or their place, shape, … is asked for, rather than what they say."""
    where_it_is = parts.word == "WHERE" and "STAND" in parts.main_verbs
    return parts.counts_things or where_it_is or "LOOK" in parts.head or "DRAW" in parts.verbs


def _quotes_notice(parts: QuestionParts) -> bool:
    """Whether the question is about what must or may not be done: that is read from a notice."""
    must = "OBLIGE" in parts.main_verbs or ("OBLIGE" in parts.verbs and "THING" in parts.head)
    return "FORBID" in parts.verbs or must or parts.asks_leave


def _asks_for_value(parts: QuestionParts, most: set[str]) -> bool:
    """A price, a time, a speed, a flavour of something packed, where a bus goes, what a restaurant offers."""
    if parts.word == "COUNT" and not parts.counts_things and ("counted" not in most or parts.role == "DETERMINER"):
        return True
    if "measured" in most and parts.word in ("WHAT", "WHICH", "NONE"):
        return True
    if parts.word == "AMOUNT" and "NUMBER" not in parts.head and most & MEASURES:
        return True
    if "NUMBER" in parts.head and "digit" in most and "counted" not in most:  # steps, views: not things in the picture
        return True
    if "FLAVOUR" in parts.head | parts.modifiers and "PRODUCT" in parts.nouns:
        return True
    if parts.word == "WHEN" and most & (MEASURES | {"weekday"}):
        return True
    goes = "TRANSPORT" in parts.nouns and "GO" in parts.verbs
    if parts.word == "WHERE" and (goes or ("VALUE" in parts.head and "BRAND" not in parts.head)):
        return True
    written = "PLACE" in parts.head or parts.nouns & {"BUSINESS", "SIGN", "PRODUCT"}
    return "VALUE" in parts.head and bool(written or most & MEASURES)


def _asks_for_label(parts: QuestionParts, choices: Mapping[str, int]) -> bool:
    """Whether the question asks for a name that only a sign or a label shows."""
    most = most_of(choices)
    if "TRAFFICSIGN" in parts.nouns and ("PLACE" in parts.head or parts.word == "WHERE"):
        return True
    if "BUSINESS" in parts.head and "LOOKS" not in parts.head and not parts.at_head:
        named = choices["proper"] >= MOST or choices["labelled"] >= FAMOUS_ENOUGH
        if parts.asks_which or (parts.word in ("WHERE", "WHICH") and named and not parts.asks_kind):
            return True
    if "station" in most and parts.head & {"PLACE", "BUSINESS", "NAME"}:
        return True
    if "PRODUCT" in parts.head and most & {"labelled", "latin"}:
        return True
    if parts.asks_kind and "PRODUCT" in parts.nouns and "proper" in most and "LOOKS" not in parts.nouns:
        return True
    of_product = "LOOKS" not in parts.nouns or "PRODUCT" in parts.modifiers or "TRANSPORT" in parts.nouns
    if ("BRAND" in parts.head and of_product) or ("NAME" in parts.head and "INDIVIDUAL" in parts.modifiers):
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
    """Which description fits, what something means, what it is made of."""
    if "THING" in parts.head and "DESCRIBE" in parts.verbs:
        return True
    if parts.word != "WHAT":
        return False
    if "MEAN" in parts.verbs:
        return parts.role == "OBJECT" or "THING" in parts.head
    return parts.role == "ADVERB" and "MAKE" in parts.main_verbs and "LOOKS" not in parts.nouns


def mirror_matters(row: Row) -> bool:
    """Whether the guide clearly calls the row unsafe to mirror: left and right matter, or text must be read."""
    parts, guide = row.parts, row.guide
    if guide in ("counting", "color"):
        return "SIDE" in parts.nouns
    if guide == "yesno":
        return bool(parts.nouns & {"SIDE", "CLOCK", "TEXT"} or "READ" in parts.verbs)
    if guide == "ocr" or row.choices["turned"] or "SIDE" in parts.nouns:
        return True
    if guide == "general" and _is_known_by_sight(row):
        return False
    if row.choices["latin"] and not row.choices["vehicle"]:
        return True
    if parts.nouns & BEARS_TEXT and not _is_of_board(parts):
        return True
    if parts.nouns & {"CLOCK", "TRAFFICSIGN"} and not (parts.asks_kind or "LOOK" in parts.head):
        return True
    named = "NAME" in parts.nouns and "LOOKS" not in parts.nouns
    sold = "GOODS" in parts.nouns or ("SELL" in parts.verbs and "BUSINESS" in parts.nouns)
    return named or sold
