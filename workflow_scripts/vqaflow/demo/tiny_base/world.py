"""The generated world of the tiny base model: which questions are asked about a picture, and what is right.

Shapes: B questions, K kinds of questions, 4 choices, 5 facts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.demo.tiny_base.digits import Dice
from vqaflow.demo.tiny_base.pictures import FACT_SIZES, FACTS
from vqaflow.demo.tiny_base.words import LANGUAGES, NAMING_WORDINGS, NEITHER, UNGROUNDED, YES_NO, family, wordings

LETTERS = ALL_LETTERS[:4]  # a generated question has four choices
KINDS = (*FACTS, "yesno", "naming")
YESNO, NAMING = KINDS.index("yesno"), KINDS.index("naming")
# How often each kind is asked about a picture that allows it; counting a single shape is rarely asked.
WEIGHTS = {"color": 1.0, "shape": 1.2, "digit": 2.5, "count": 1.0, "location": 0.5, "yesno": 2.4, "naming": 0.5}
COUNTING_ONE = 0.1
GIVEN_SHARE = 0.4  # share of the questions that name a known fact ("the color of the box") where they can
GIVEN = {"color": "shape", "shape": "color", "digit": "shape", "count": "shape", "location": "shape"}
QTYPES = dict(zip(KINDS, ("color", "attribute", "ocr", "counting", "location", "yesno", "general"), strict=True))
MOST_VALUES = max(FACT_SIZES.values())


class Ragged:
    """Lists of integers by key (a tuple of indices), from which one element per row is taken."""

    def __init__(self, lists: Mapping[tuple[int, ...], Sequence[int]], device: torch.device) -> None:
        self.shape = [max(key[i] for key in lists) + 1 for i in range(len(next(iter(lists))))]
        size = max(map(len, lists.values()))
        self.values = torch.full((*self.shape, size), -1, device=device)
        self.counts = torch.zeros(self.shape, dtype=torch.long, device=device)
        for key, items in lists.items():
            self.values[key][: len(items)] = torch.tensor(items, device=device)
            self.counts[key] = len(items)

    def at(self, keys: tuple[torch.Tensor, ...], number: torch.Tensor) -> torch.Tensor:
        """Element `number` of each key's list, modulo its length; -1 from an empty list."""
        return self.values[(*keys, number % self.counts[keys].clamp(min=1))]


@dataclass(frozen=True)
class Questions:
    """B questions: indices into the world's questions and words, the right position, and what was asked."""

    question: torch.Tensor
    words_B4: torch.Tensor
    answer: torch.Tensor
    kind: torch.Tensor
    language: torch.Tensor
    negated: torch.Tensor


class GeneratedWorld:
    """All questions and words as tables on the dice's device."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        asked = wordings()
        words_of = [language_words(language) for language in LANGUAGES]
        self.words = sorted(set(words_of[0]) | set(words_of[1]))
        number = {word: i for i, word in enumerate(self.words)}
        naming = [
            (text.format(word=word), number[word], i)
            for i, language in enumerate(LANGUAGES)
            for word in words_of[i]
            for text in NAMING_WORDINGS[language]
        ]
        self.questions = [(w.text, QTYPES[w.fact]) for w in asked] + [(text, QTYPES["naming"]) for text, _, _ in naming]
        self.negated = torch.tensor([w.negated for w in asked] + [False] * len(naming), device=dice.device)
        self.words_of = Ragged({(i,): [number[w] for w in words] for i, words in enumerate(words_of)}, dice.device)
        self._index_questions(asked, naming)
        self._index_words(number)

    def _index_questions(self, asked: list, naming: list) -> None:
        open_lists: dict[tuple[int, ...], list[int]] = {}
        closed_lists: dict[tuple[int, ...], list[int]] = {}
        naming_lists: dict[tuple[int, ...], list[int]] = {}
        for i, wording in enumerate(asked):
            language = LANGUAGES.index(wording.language)
            if wording.claim:
                closed_lists.setdefault((FACTS.index(wording.claim[0]), language, wording.claim[1]), []).append(i)
            else:
                given = 1 + wording.given[1] if wording.given else 0
                open_lists.setdefault((FACTS.index(wording.fact), language, given), []).append(i)
        for i, (_, word, language) in enumerate(naming, start=len(asked)):
            naming_lists.setdefault((word, language), []).append(i)
        self.open, self.closed, self.naming = (
            Ragged(lists, self.dice.device) for lists in (open_lists, closed_lists, naming_lists)
        )

    def _index_words(self, number: Mapping[str, int]) -> None:
        choice_lists, affirm, deny, neither = {}, {}, {}, {}
        for i, language in enumerate(LANGUAGES):
            for f, fact in enumerate(FACTS):
                for value, words in enumerate(family(fact, language)):
                    choice_lists[f, i, value] = [number[word] for word in words]
            affirm[i,] = [number[yes] for yes, _ in YES_NO[language]]
            deny[i,] = [number[no] for _, no in YES_NO[language]]
            neither[i,] = [number[word] for word in NEITHER[language]]
        self.choices, self.affirm, self.deny, self.neither = (
            Ragged(lists, self.dice.device) for lists in (choice_lists, affirm, deny, neither)
        )
        self.sizes = torch.tensor([FACT_SIZES[fact] for fact in FACTS], device=self.dice.device)

    def ask(self, facts_B5: torch.Tensor) -> Questions:
        """One random question about each picture, with four distinct choices in random order."""
        count = len(facts_B5)
        kind = self._kinds(facts_B5)
        language = self.dice.integers(count, len(LANGUAGES))
        parts = [self._open(facts_B5, kind, language), self._closed(facts_B5, language), self._naming(language)]
        part = torch.where(kind == NAMING, 2, torch.where(kind == YESNO, 1, 0))
        row = torch.arange(count, device=part.device)
        question = torch.stack([q for q, _ in parts])[part, row]
        words_B4 = torch.stack([w for _, w in parts])[part, row]  # the right one first
        order = self.dice.uniform((count, len(LETTERS))).argsort(1)
        answer = (order == 0).long().argmax(1)
        return Questions(question, words_B4.gather(1, order), answer, kind, language, self.negated[question])

    def _kinds(self, facts_B5: torch.Tensor) -> torch.Tensor:
        weights = torch.tensor([WEIGHTS[kind] for kind in KINDS], device=facts_B5.device)
        weights_BK = weights.expand(len(facts_B5), -1).clone()
        weights_BK[:, : len(FACTS)] *= facts_B5 >= 0
        weights_BK[:, FACTS.index("count")] *= torch.where(facts_B5[:, FACTS.index("count")] == 0, COUNTING_ONE, 1.0)
        return torch.multinomial(weights_BK, 1, generator=self.dice.generator)[:, 0]

    def _open(
        self, facts_B5: torch.Tensor, kind: torch.Tensor, language: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(kind)
        fact = kind.clamp(max=len(FACTS) - 1)
        partner = torch.tensor([FACTS.index(GIVEN[f]) for f in FACTS], device=kind.device)[fact]
        known = facts_B5.gather(1, partner[:, None])[:, 0] + 1  # 0: nothing known
        known = known.clamp(max=self.open.shape[2] - 1) * self.dice.chance(count, GIVEN_SHARE)
        known = torch.where(self.open.counts[fact, language, known] > 0, known, 0)
        question = self.open.at((fact, language, known), self.dice.integers(count, 1000))
        right = facts_B5.gather(1, fact[:, None]).clamp(min=0)
        values_B4 = self._with_others(right[:, 0], self.sizes[fact])
        form = self.dice.integers(count, 12)[:, None].expand(-1, len(LETTERS))
        keys = (fact[:, None].expand_as(form), language[:, None].expand_as(form), values_B4)
        return question, self.choices.at(keys, form)

    def _with_others(self, right: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        """(B, 4) distinct values below `sizes`, the right one first."""
        score = self.dice.uniform((len(right), MOST_VALUES))
        score[torch.arange(MOST_VALUES, device=right.device) >= sizes[:, None]] = -1
        score.scatter_(1, right[:, None], 2)
        return score.topk(len(LETTERS), dim=1).indices

    def _closed(self, facts_B5: torch.Tensor, language: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(language)
        claimable = (facts_B5[:, : self.closed.shape[0]] >= 0).float()
        fact = torch.multinomial(claimable, 1, generator=self.dice.generator)[:, 0]
        shown_value = facts_B5.gather(1, fact[:, None])[:, 0]
        values = self._with_others(shown_value, self.sizes[fact])
        holds = self.dice.chance(count, 0.5)
        claimed = torch.where(holds, values[:, 0], values[:, 1])
        question = self.closed.at((fact, language, claimed), self.dice.integers(count, 1000))
        pair = self.dice.integers(count, 12)
        yes, no = self.affirm.at((language,), pair), self.deny.at((language,), pair)
        affirmed = holds ^ self.negated[question]
        first = self.dice.integers(count, 1000)
        step = 1 + self.dice.integers(count, 1000) % (self.neither.counts[language] - 1)
        fillers = [self.neither.at((language,), first), self.neither.at((language,), first + step)]
        right, wrong = torch.where(affirmed, yes, no), torch.where(affirmed, no, yes)
        return question, torch.stack([right, wrong, *fillers], 1)

    def _naming(self, language: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = len(language)
        size = self.words_of.values.shape[1]
        score = self.dice.uniform((count, size))
        score[torch.arange(size, device=score.device) >= self.words_of.counts[language][:, None]] = -1
        words_B4 = self.words_of.values[language].gather(1, score.topk(len(LETTERS), dim=1).indices)
        return self.naming.at((words_B4[:, 0], language), self.dice.integers(count, 1000)), words_B4


def language_words(language: str) -> list[str]:
    """All answer words of a language, each once."""
    grounded = [word for fact in FACTS for words in family(fact, language) for word in words]
    pairs = [word for pair in YES_NO[language] for word in pair]
    return sorted({*grounded, *pairs, *NEITHER[language], *UNGROUNDED[language]})
