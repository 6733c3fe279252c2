"""What a question asks for: its question word, the noun asked for, and what is said of the answer.

Korean questions are split by Kiwi (Lee Minchul's morphological analyser), English ones by words. Both give the same
parts, so that one model reads both languages.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from vqaflow.question_types.words import KNOWN_NOUNS, OTHER, VERBAL, english_word, korean_noun, korean_verb

Morpheme = tuple[str, str, int]  # form, tag without the mark of irregular verbs, position in the text
KOREAN_WORDS = {
    "WHAT": "무엇 뭐 무어 뭣",
    "WHERE": "어디",
    "WHO": "누구 누",
    "COUNT": "몇 며칠",
    "WHICH": "어떤 어느 무슨",
    "AMOUNT": "얼마 얼마나",
    "WHEN": "언제",
    "HOW": "어떻 어떠 어떻게",
    "WHY": "왜",
}
KOREAN_WORD = {form: word for word, forms in KOREAN_WORDS.items() for form in forms.split()}
QUESTION_TAGS = {"NP", "MM", "VA", "MAG", "NNG", "NR", "IC"}
NOUN_TAGS = {"NNG", "NNP", "NNB", "NR", "SL", "SN", "XR", "XSN"}
OPEN_TAGS = NOUN_TAGS | {"VV", "VA"}
VERB_TAGS = {"VV", "VA", "VX", "XSV", "MAG", "EC"}  # EC for 어야, "must"
SAME_PARTICLE = {("은", "JX"): "는", ("이", "JKS"): "가", ("을", "JKO"): "를", ("과", "JC"): "와", ("과", "JKB"): "와"}
NO_VERBS = {("적", "VA"), ("하", "XSV"), ("하", "XSA")}  # 적 (few) looks like 적 (write)
# "In this picture", with which most questions open, says nothing about the type.
KOREAN_FRAME = re.compile(
    r"\s*(?:(?:이|다음|위|아래)\s+)?(?:사진|이미지|그림|장면)들?(?:\s?[속상])?(?:에서는|에서|에는|에|의|은|는|이|을)?\s+"
    r"(?:(?:보이는|볼\s?수\s?있는|보여지는|나온|나타난|있는|등장하는|찍힌)\s+)?"
)
ENGLISH_FRAME = re.compile(
    r"\b(?:in|on|from|of|by) (?:the|this) (?:image|picture|photo|photograph)\b|\b(?:the|this) (?:image|picture|photo)\b"
)
ENGLISH_QUESTION = re.compile(
    r"\b(?:(?P<COUNT>how many|number of)|(?P<AMOUNT>how (?:much|tall|long|old|fast|far|big|deep|high|wide|heavy))"
    r"|(?P<WHAT>what)|(?P<WHICH>which)|(?P<WHERE>where)|(?P<WHO>who|whom|whose)|(?P<WHEN>when)|(?P<WHY>why)|(?P<HOW>how))\b"
)
ENGLISH_WORD = re.compile(r"[a-z0-9]+(?:['\-][a-z0-9]+)*|\?")
BE = set("is are was were be being 's do does did can could has have had will would should".split())
ARTICLES = set("the a an this that these those".split())
ENDS_OF_PHRASE = BE | set(
    """of in on at for with to from under behind above below near beside between next inside that which who shown
    visible seen present depicted pictured used holding wearing doing happening best most not no there many much what
    which how where who when why by and or ?""".split()
)


@dataclass(frozen=True, slots=True)
class Word:
    """A morpheme or an English word: its form, its tag (EN for English), and its classes of words.py."""

    form: str
    tag: str
    classes: frozenset[str]

    @property
    def general(self) -> str:
        """Its classes; without one, its form if that is no noun or verb, otherwise the first letter of its tag."""
        if self.classes - OTHER:
            return "+".join(sorted(self.classes - OTHER))
        open_class = self.tag in OPEN_TAGS or (self.tag == "EN" and self.form not in ENDS_OF_PHRASE | ARTICLES)
        return self.tag[:2] if open_class else self.form


@dataclass(frozen=True, slots=True)
class Question:
    """The parts of "이 사진에 보이는 가게의 이름은 무엇인가요?": asks WHAT, heads 이름, modifiers 가게."""

    words: tuple[Word, ...]
    asks: str
    after: str
    """The tag of the morpheme, or the English word, that follows the question word."""
    heads: tuple[Word, ...]
    """The topic, and the noun that 어떤, 어느, 무슨 or 몇 goes with ("이 강아지는 어떤 품종인가요?": 강아지, 품종)."""
    modifiers: tuple[Word, ...]
    said: tuple[Word, ...]
    """The words after the question word."""

    @property
    def is_english(self) -> bool:
        """Whether its words were found by spaces."""
        return any(word.tag == "EN" for word in self.words)


def korean_question(text: str, morphemes: Sequence[Morpheme]) -> Question:
    """The parts of the question `text`, whose `morphemes` Kiwi found."""
    frame = KOREAN_FRAME.match(text)
    words = tuple(_words(_compounds([m for m in morphemes if m[2] >= (frame.end() if frame else 0)])))
    at = next((i for i, w in enumerate(words) if w.form in KOREAN_WORD and w.tag in QUESTION_TAGS), len(words))
    asks = KOREAN_WORD[words[at].form] if at < len(words) else "NONE"
    topic = next((i for i in range(at - 1, 0, -1) if words[i].tag in ("JX", "JKS")), at) - 1
    heads, modifiers = _noun_phrase(words, topic)
    if asks in ("WHICH", "COUNT", "WHERE", "AMOUNT"):
        run = list(takewhile(lambda w: w.tag in NOUN_TAGS - {"XSN"}, words[at + 1 :]))
        heads, modifiers = heads + run[-1:], modifiers + run[:-1]
    after = words[at + 1].tag if at + 1 < len(words) else ""
    return Question(words, asks, after, tuple(heads), tuple(modifiers), words[at + 1 :])


def english_question(text: str) -> Question:
    """The parts of an English question; its fixed word order needs no tagger."""
    text = ENGLISH_FRAME.sub(" ", text.lower().replace("’", "'").replace("time of day", "daytime"))
    found = ENGLISH_QUESTION.search(text)
    before = ENGLISH_WORD.findall(text[: found.start()] if found else text)
    rest = ENGLISH_WORD.findall(text[found.end() :]) if found else []
    asked = found.group().split() if found else []
    first = next((i for i, word in enumerate(rest) if word not in BE | ARTICLES), len(rest))
    phrase = list(takewhile(lambda w: w not in ENDS_OF_PHRASE, rest[first:]))
    owner = (
        [w for w in rest[first + len(phrase) + 1 :] if w not in ARTICLES]
        if "of" in rest[first:][len(phrase) :][:1]
        else []
    )
    owner = list(takewhile(lambda w: w not in ENDS_OF_PHRASE, owner))
    word = lambda form: Word(form, "EN", english_word(form))  # noqa: E731
    return Question(
        tuple(map(word, [*before, *asked, *rest])),
        found.lastgroup if found else "NONE",
        rest[0] if rest and rest[0] in BE else "EN",
        tuple(map(word, phrase[-1:])),
        tuple(map(word, phrase[:-1] + owner)),
        tuple(map(word, rest)),
    )


def _compounds(morphemes: Sequence[Morpheme]) -> list[tuple[str, str]]:
    """Forms and tags, with nouns that are written together put together where that makes a known word (도로 + 명)."""
    found: list[tuple[str, str]] = []
    end = -1
    for form, tag, position in morphemes:
        together = found[-1][0] + form if found else ""
        if position == end and tag in NOUN_TAGS and found[-1][1] in NOUN_TAGS and together in KNOWN_NOUNS:
            found[-1] = (together, "NNG")
        else:
            found.append((form, tag))
        end = position + len(form)
    return found


def _words(forms: list[tuple[str, str]]) -> Iterator[Word]:
    for (form, tag), (_, after) in pairwise([*forms, ("", "")]):
        classes: frozenset[str] = frozenset()
        if tag in NOUN_TAGS:
            classes = korean_noun(form)
        if (tag in VERB_TAGS or after in ("XSV", "XSA")) and (form, tag) not in NO_VERBS:
            classes = korean_verb(form) or classes
        yield Word(SAME_PARTICLE.get((form, tag), form), tag, classes)


def _noun_phrase(words: Sequence[Word], last: int) -> tuple[list[Word], list[Word]]:
    """The head noun of the phrase that ends at `last`, and the nouns that qualify it."""
    nouns: list[Word] = []
    for i in range(last, -1, -1):
        if words[i].tag == "XSN" and words[i].form == "들":
            continue
        if words[i].tag in NOUN_TAGS:
            nouns.append(words[i])
        elif not (nouns and words[i].tag in ("JKG", "JC") and i and words[i - 1].tag in NOUN_TAGS):
            break
    return nouns[:1], nouns[1:]


def is_verbal(word: Word) -> bool:
    """Whether its classes are those of verbs."""
    return bool(word.classes & VERBAL)
