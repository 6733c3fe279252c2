"""Words that show what a question asks for, in classes shared by Korean (dictionary forms) and English.

The classes (words.json) follow the guide of the question types rather than a dictionary: TEXT and VALUE are read from
the picture, SIGN bears text, BUSINESS has a name that only a sign shows, LOOKS has a name that its look shows, PROPERTY
is a property, PLACE a place. A word may be in several classes; one in none has the class OTHER.
"""

import json
from functools import lru_cache
from pathlib import Path

Classes = dict[str, frozenset[str]]
OTHER = frozenset({"OTHER"})
NAME = frozenset({"NAME"})
_FILE = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


def _by_word(kind: str) -> Classes:
    found: dict[str, set[str]] = {}
    for name, words in _FILE[kind].items():
        for word in words.split():
            found.setdefault(word, set()).add(name)
    return {word: frozenset(names) for word, names in found.items()}


_KOREAN_NOUNS, _KOREAN_VERBS, _ENGLISH_WORDS = map(_by_word, ("korean nouns", "korean verbs", "english words"))
KNOWN_NOUNS = frozenset(_KOREAN_NOUNS)
VERBAL = frozenset(_FILE["korean verbs"])


@lru_cache(1 << 16)
def korean_noun(form: str) -> frozenset[str]:
    """Classes of a noun; a compound that is in none has those of its last part, which is its head in Korean."""
    if len(form) > 2 and form.endswith("명"):  # 회사명, 제품명: the name of a company, a product
        return NAME
    for start in (0, len(form) - 3, len(form) - 2):
        if 0 <= start < len(form) and form[start:] in _KOREAN_NOUNS:
            return _KOREAN_NOUNS[form[start:]]
    return OTHER


def korean_verb(form: str) -> frozenset[str]:
    """Classes of a verb's or adjective's stem, or of a noun that 하다 or 되다 turns into a verb."""
    return _KOREAN_VERBS.get(form, frozenset())


def english_word(word: str) -> frozenset[str]:
    """Classes of a lower-case word, including those of verbs (READ, MEAN, …)."""
    return _ENGLISH_WORDS.get(word) or _ENGLISH_WORDS.get(word.removesuffix("s"), OTHER)
