"""The yes-or-no features from which the model decides the type of a question.

They are of three kinds: classes of words (words.py) and runs of them, which hold for words that no labelled question
has; the words themselves; and what the choices look like, alone and beside what is asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from vqaflow.question_types.choices import is_turned, looks
from vqaflow.question_types.parsing import Question, Word, is_verbal
from vqaflow.question_types.words import OTHER

MOST = 0.6  # of the choices
PAIR = ", "  # in the name of a feature of both the question and the choices
TURNED = "left or right in "  # begins the names of the surest signs that mirroring is unsafe


@dataclass(frozen=True, slots=True)
class Row:
    """A question that was read: its parts, its choices and the words of each choice."""

    text: str
    question: Question
    choices: tuple[str, ...]
    choice_words: tuple[tuple[Word, ...], ...]

    @property
    def template(self) -> str:
        """The question without the words that stand for things: near-same questions have the same."""
        return " ".join(word.general for word in self.question.words)


def features(row: Row) -> set[str]:
    """Names of the features that hold for `row`."""
    heads = _classes(row.question.heads)
    seen = set(_of_choices(row))
    most = {look for look in seen if look.startswith(("most ", "all "))} or {"plain choices"}
    nouns = {c for word in row.question.words if not is_verbal(word) for c in word.classes - OTHER}
    asked = [f"asks={row.question.asks}", *(f"head={c}" for c in heads), *(f"noun={c}" for c in nouns)]
    found = set(_of_question(row.question)) | seen
    found |= {TURNED + where for where, texts in (("text", (row.text,)), ("choice", row.choices)) if is_turned(texts)}
    return found | {f"{what}{PAIR}{look}" for what, look in product(asked, most)}


def _classes(words: Sequence[Word]) -> set[str]:
    return {c for word in words for c in word.classes} or {"NOTHING"}


def _of_question(question: Question) -> Iterator[str]:
    words = question.words
    heads, of = _classes(question.heads), _classes(question.modifiers)
    yield from (f"asks={question.asks}", f"asks={question.asks} {question.after}")
    yield from (f"head={c}" for c in heads)
    yield from (f"of={c}" for c in of)
    yield from (f"head={c} of={m}" for c, m in product(heads, of))
    yield from (f"asks={question.asks} head={c}" for c in heads)
    yield from (f"says={c}" for word in question.said for c in word.classes)
    yield from (f"{'verb' if is_verbal(word) else 'noun'}={c}" for word in words for c in word.classes)
    for kind, forms in (("word", [w.form for w in words]), ("class", [w.general for w in words])):
        marked = ["^", *forms, "$"]
        for length in (1, 2, 3):
            if kind == "class" or length < 3:
                yield from (f"{kind} {' '.join(marked[i : i + length])}" for i in range(len(marked) - length + 1))
    yield from (f"head {word.form}" for word in question.heads)
    yield from (f"of {word.form}" for word in question.modifiers)


def _of_choices(row: Row) -> Iterator[str]:
    number = max(len(row.choices), 1)
    counts = looks(row.choices, row.choice_words)
    if row.question.is_english:  # Latin letters are nothing special there
        del counts["latin"], counts["tag EN"]
    for words, text in zip(row.choice_words, row.choices, strict=True):
        counts.update({f"choice {word.form}" for word in words})
        counts.update({f"choice class {c}" for word in words for c in word.classes - OTHER})
        counts.update({f"ends {text[-length:]}" for length in (1, 2) if len(text) > length})
        counts.update({f"last {word.form} {word.tag}" for word in words[-1:]})
        if any(text in (word.form, word.form + "색") for word in row.question.words):
            counts["asked in question"] += 1
    for name, count in counts.items():
        yield f"some {name}"
        if count >= MOST * number:
            yield f"most {name}"
        if count >= number:
            yield f"all {name}"
