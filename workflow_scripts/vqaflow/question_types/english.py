"""Reading the parts of an English question from its words; the fixed word order needs no tagger."""

import re
from itertools import takewhile

from vqaflow.question_types.parts import NOTHING, QuestionParts, without_other
from vqaflow.question_types.words import ENGLISH_WORDS, VERBAL, english_word

QUESTION = re.compile(
    r"\b(?:(?P<COUNT>how many)|(?P<AMOUNT>how (?:much|tall|long|old|fast|far|big|deep|high|wide|heavy))"
    r"|(?P<WHAT>what)|(?P<WHICH>which)"
    r"|(?P<WHERE>where)|(?P<WHO>who|whom|whose)|(?P<WHEN>when)|(?P<WHY>why)|(?P<HOW>how))\b"
)
NUMBER_OF = re.compile(r"\b(?:the|total) (?P<COUNT>number of)\b")
AT = re.compile(r"\b(?:in|at|on) (?:what|which)\b|\b(?:located|taken)\b")
WORD = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*")
NAMES_ONLY = {"station", "street", "airport", "newspaper", "university"}  # "what station" asks for its name
AUXILIARIES = set("is are was were be does do did can could has have had will would should s being".split())
BE = {"is", "are", "was", "were", "s"}
ARTICLES = set("the a an this that these those".split())
ENDS_OF_PHRASE = AUXILIARIES | set(
    """of in on at for with to from under behind above below near beside between next left right over inside that which
    who shown visible seen present depicted pictured used holding wearing doing happening best most fit fits match
    matches like about made makes produced built wrote painted""".split()
)
FRAME = re.compile(
    r"\b(?:in|on|from|of|by) (?:the|this) (?:image|picture|photo|photograph)\b|\b(?:the|this) (?:image|picture|photo)\b"
)


def english_parts(text: str) -> QuestionParts:
    """The parts of the question `text`."""
    text = FRAME.sub(" ", text.lower().replace("’", "'").replace("time of day", "daytime"))
    classes = set().union(*map(english_word, WORD.findall(text)))
    common = {"nouns": without_other(classes - VERBAL), "verbs": frozenset(classes & VERBAL)}
    found = NUMBER_OF.search(text) or QUESTION.search(text)
    if found is None:
        return QuestionParts(**common)
    rest = WORD.findall(text, found.end())
    role, noun, modifiers, asks_kind = _asked(rest, found.lastgroup)
    head = english_word(noun) - VERBAL if noun else NOTHING
    return QuestionParts(
        word=found.lastgroup,
        role=role,
        head=head,
        modifiers=frozenset().union(*map(english_word, modifiers)) - VERBAL,
        main_verbs=frozenset(set().union(*map(english_word, rest)) & VERBAL),
        at_relation="RELATION" in classes and "THING" in head and found.lastgroup != "WHO",
        at_head="PLACE" in head and bool(AT.search(text)),
        asks_which=role == "DETERMINER" and (found.lastgroup == "WHICH" or noun in NAMES_ONLY) and not asks_kind,
        asks_kind=asks_kind,
        counts_things=found.lastgroup == "COUNT",
        **common,
    )


def _asked(rest: list[str], word: str) -> tuple[str, str, list[str], bool]:
    """Role of the question word, the noun asked for, its qualifiers, and whether a kind of it is asked for."""
    if word in ("WHERE", "WHEN", "HOW", "WHY"):
        return "ADVERB", _last(_phrase(rest[1:])), [], False
    if rest and rest[0] not in AUXILIARIES | ENDS_OF_PHRASE:
        phrase = _phrase(rest)
        if _last(phrase) in ENGLISH_WORDS["KIND"] and rest[len(phrase) : len(phrase) + 1] == ["of"]:
            return "DETERMINER", _last(_phrase(rest[len(phrase) + 1 :])), [], True
        return "DETERMINER", _last(phrase), phrase[:-1], False
    if rest and rest[0] in BE:
        phrase = _phrase(rest[1:])
        if phrase:
            after = [w for w in rest[1:] if w not in ARTICLES][len(phrase) :]
            owner = _phrase(after[1:]) if after[:1] == ["of"] else []
            does = after[:1] and (after[0].endswith("ing") or after[0] == "used")
            role = "OBJECT" if does or rest[-1] == "doing" else "PREDICATE"
            return role, phrase[-1], phrase[:-1] + owner, False
        # "what is under the table?" asks for a thing by its place
        return "PREDICATE", "thing", [], False
    return "OBJECT", "", [], False


def _phrase(words: list[str]) -> list[str]:
    """The words of the noun phrase that `words` open with, without articles."""
    words = [w for w in words if w not in ARTICLES]
    return list(takewhile(lambda w: w not in ENDS_OF_PHRASE and not english_word(w) & {"READ", "STAND"}, words))


def _last(phrase: list[str]) -> str:
    return phrase[-1] if phrase else ""
