"""The parts of a question that decide its type, the same for every language."""

from dataclasses import dataclass

from vqaflow.question_types.words import OTHER

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class QuestionParts:
    """What is asked for and how; sets hold classes of words.py.

    In "이 사진에 보이는 가게의 이름은 무엇인가요?" (what is the name of the shop?) `word` is WHAT, `role` PREDICATE,
    `head` holds NAME, `modifiers` BUSINESS.
    """

    word: str = "NONE"
    """Question word: WHAT, WHICH, WHERE, WHO, COUNT, AMOUNT, WHEN, HOW, WHY; NONE for a yes/no question."""
    role: str = "NONE"
    """How the question word stands in its clause: PREDICATE, DETERMINER, OBJECT, SUBJECT or ADVERB."""
    head: frozenset[str] = NOTHING
    """The noun asked for."""
    modifiers: frozenset[str] = NOTHING
    """Nouns that qualify it in its own phrase."""
    nouns: frozenset[str] = NOTHING
    """All nouns of the question, without those that only say "in this picture"."""
    verbs: frozenset[str] = NOTHING
    """All its verbs."""
    main_verbs: frozenset[str] = NOTHING
    """Verbs after the question word: what is said of the answer."""
    at_relation: bool = False
    """Something is above, behind, left of … something."""
    at_head: bool = False
    """The noun asked for is where something is ("어느 도시에 있나요?")."""
    asks_leave: bool = False
    """Something may or may not be done ("버릴 수 없는 것")."""
    asks_which: bool = False
    """Asks which one of its kind ("어느 휴게소", "which station"), not what kind."""
    asks_kind: bool = False
    """Asks for a kind of something ("어떤 종류", "what kind of")."""
    counts_things: bool = False
    """A COUNT word asks for a number of things (몇 명, how many), not for a time, a speed, … (몇 시)."""


def without_other(classes: set[str]) -> frozenset[str]:
    """The classes without OTHER, which says nothing."""
    return frozenset(classes - OTHER)
