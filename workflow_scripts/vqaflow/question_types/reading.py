"""Reading rows of a table into guide.Row, with the Korean morphological analyser."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from vqaflow.artifacts.columns import LETTERS
from vqaflow.question_types.choices import HANGUL
from vqaflow.question_types.guide import Row, read_row

if TYPE_CHECKING:
    from kiwipiepy import Kiwi, Token


CHUNK = 1000
BETWEEN_CHOICES = " / "
PROPER_NOUN = "NNP"
BEAM = 5.0  # narrower than the analyser's own 8: a sixth faster, and 4 of 100,000 questions have another type


def read_questions(rows: Iterable[Mapping[str, str]]) -> Iterator[Row]:
    """Read rows with the keys question, a, b, c and d, one by one and in their order."""
    rows = iter(rows)
    while chunk := [_plain(row) for row in islice(rows, CHUNK)]:
        of_questions = _tokens([question for question, _ in chunk])
        # Side by side, the choices show the analyser each other's kind; sorted, their order cannot matter.
        of_choices = _tokens([BETWEEN_CHOICES.join(sorted(choices)) for _, choices in chunk])
        for (question, choices), tokens, choice_tokens in zip(chunk, of_questions, of_choices, strict=True):
            morphemes = [(token.form, token.tag.split("-")[0], token.start) for token in tokens]
            yield read_row(question, choices, morphemes, _with_proper_noun(sorted(choices), choice_tokens))


@cache
def _kiwi() -> "Kiwi":
    """The analyser with the model that its package carries; it takes some seconds to load."""
    from kiwipiepy import Kiwi

    kiwi = Kiwi()
    kiwi.global_config.cutoff_threshold = BEAM
    return kiwi


def _tokens(texts: Sequence[str]) -> Iterator[Sequence["Token"]]:
    """Morphemes of each text; none for a text without Hangul."""
    korean = iter(_kiwi().tokenize([text for text in texts if HANGUL.search(text)]))
    return (next(korean) if HANGUL.search(text) else () for text in texts)


def _plain(row: Mapping[str, str]) -> tuple[str, list[str]]:
    """Question and choices, full-width forms and split Hangul made plain."""
    question, *choices = (unicodedata.normalize("NFKC", row[key]).strip() for key in ("question", *LETTERS))
    return question, choices


def _with_proper_noun(choices: Sequence[str], tokens: Sequence["Token"]) -> int:
    """How many of the choices hold a proper noun, by the `tokens` of all of them joined."""
    ends = list(accumulate(len(choice) + len(BETWEEN_CHOICES) for choice in choices))
    return len({bisect_right(ends, token.start) for token in tokens if token.tag == PROPER_NOUN})
