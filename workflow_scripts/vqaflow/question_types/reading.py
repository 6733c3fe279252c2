"""Reading rows of a table into features.Row, with the Korean morphological analyser."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from vqaflow.question_types.choices import HANGUL, LETTERS
from vqaflow.question_types.features import Row
from vqaflow.question_types.parsing import Word, english_question, korean_question
from vqaflow.question_types.words import english_word, korean_noun
from vqaflow.runtime.process_start import job_cores

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token

CHUNK = 10_000
BETWEEN_CHOICES = " / "
LATIN_WORD = re.compile(r"[A-Za-z]+")
BEAM = 5.0  # narrower than the analyser's own 8: a sixth faster, and 4 of 100,000 questions have another type


def read_questions(rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Read rows with the keys question, a, b, … up to j, one by one and in their order; absent choices are skipped."""
    rows = iter(rows)
    while chunk := [_plain(row) for row in islice(rows, CHUNK)]:
        of_questions = _tokens([question for question, _ in chunk])
        # Side by side, the choices show the analyser each other's kind; sorted, their order cannot matter.
        of_choices = _tokens([BETWEEN_CHOICES.join(choices) for _, choices in chunk])
        for (question, choices), tokens, choice_tokens in zip(chunk, of_questions, of_choices, strict=True):
            if HANGUL.search(question):
                parts = korean_question(question, [(t.form, t.tag.split("-")[0], t.start) for t in tokens])
            else:
                parts = english_question(question)
            yield Row(question, parts, choices, _choice_words(choices, choice_tokens))


@cache
def _kiwi() -> "Kiwi":
    """The analyser with the model that its package carries; it takes some seconds to load."""
    from kiwipiepy import Kiwi

    kiwi = Kiwi(num_workers=job_cores())
    kiwi.global_config.cutoff_threshold = BEAM
    return kiwi


def _tokens(texts: Sequence[str]) -> list[Sequence["Token"]]:
    """Morphemes of each text, equal ones analysed once; none for a text without Hangul."""
    korean = list(dict.fromkeys(text for text in texts if HANGUL.search(text)))
    found = dict(zip(korean, _kiwi().tokenize(korean), strict=True))
    return [found.get(text, ()) for text in texts]


def _plain(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Question and sorted choices, full-width forms and split Hangul made plain."""
    cells = (row.get(letter) for letter in LETTERS)
    question, *choices = (
        unicodedata.normalize("NFKC", cell).strip() for cell in (row["question"], *cells) if isinstance(cell, str)
    )
    return question, tuple(sorted(choice for choice in choices if choice))


def _choice_words(choices: Sequence[str], tokens: Sequence["Token"]) -> tuple[tuple[Word, ...], ...]:
    """The words of each choice, by the `tokens` of all of them joined; without Hangul, by the spaces."""
    found: list[list[Word]] = [[] for _ in choices]
    if not tokens:
        return tuple(tuple(Word(w, "EN", english_word(w)) for w in LATIN_WORD.findall(c.lower())) for c in choices)
    ends = list(accumulate(len(choice) + len(BETWEEN_CHOICES) for choice in choices))
    for token in tokens:
        at = bisect_right(ends, token.start)
        if at < len(choices) and token.start < ends[at] - len(BETWEEN_CHOICES):
            noun = token.tag[0] in "NX"
            found[at].append(
                Word(token.form, token.tag.split("-")[0], korean_noun(token.form) if noun else frozenset())
            )
    return tuple(map(tuple, found))
