"""Training rows varied without changing what they ask: choices in another order, other words, a mirrored image.

Pure functions of a row and a random generator; validation and test rows are never augmented.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import AugmentConfig

MIRRORED_SHARE = 0.5  # how often a row that may be mirrored is
# Groups of wordings that mean the same wherever they stand; a wording is found only as a whole word (see `_pattern`).
KOREAN_NOUNS = ("이미지", "사진", "그림")
PHOTOGRAPHED = ("찍", "촬영")  # a camera does not take a 그림
KOREAN_ENDINGS = (
    ("은 무엇인가요?", "은 무엇입니까?", "은 무엇일까요?"),
    ("는 무엇인가요?", "는 무엇입니까?", "는 무엇일까요?"),
    ("은 어디인가요?", "은 어디입니까?", "은 어디일까요?"),
    ("는 어디인가요?", "는 어디입니까?", "는 어디일까요?"),
    ("은 누구인가요?", "은 누구입니까?", "은 누구일까요?"),
    ("는 누구인가요?", "는 누구입니까?", "는 누구일까요?"),
    ("색인가요?", "색입니까?", "색일까요?"),
    ("색깔인가요?", "색깔입니까?", "색깔일까요?"),
    ("명인가요?", "명입니까?", "명일까요?"),
    ("개인가요?", "개입니까?", "개일까요?"),
    ("있나요?", "있습니까?", "있을까요?"),
    ("없나요?", "없습니까?", "없을까요?"),
)
KOREAN_SEEING = (("에 보이는", "에서 볼 수 있는", "에서 보이는"),)
ENGLISH = (
    ("in the image", "in the picture", "in the photo"),
    ("does the image show", "does the picture show", "does the photo show"),
    ("does the image contain", "does the picture contain", "does the photo contain"),
    ("what color", "which color"),
    ("what shape", "which shape"),
    ("what digit", "which digit"),
)
# 사진 and 그림 end in a consonant, 이미지 in a vowel: a particle right behind the noun changes with it.
PARTICLES = {"은": "는", "이": "가", "을": "를", "과": "와", "으로": "로"}
CONSONANT_TO_VOWEL = PARTICLES
VOWEL_TO_CONSONANT = {vowel: consonant for consonant, vowel in PARTICLES.items()}
# A question about a picture within the picture ("벽에 걸린 그림") means that picture, not the whole image.
NOUN = re.compile(
    r"^(?P<this>이 |다음 |)(?P<noun>이미지|사진|그림)(?P<rest>(?:속|에서|에는|에|의|은|는|이|가|을|를)?)(?= |$)"
)


def augment_row(row: Row, settings: AugmentConfig, seed: int, epoch: int) -> Row:
    """`row` varied by `settings` in `epoch`; the same row, seed and epoch give the same result."""
    rng = random.Random(f"{seed}/{epoch}/{row.id}")
    if settings.shuffle_choices:
        row = shuffle_choices(row, rng)
    if settings.paraphrase:
        row = replace(row, question=paraphrase(row.question, rng))
    if settings.mirror and not row.flip_unsafe:
        row = replace(row, mirrored=rng.random() < MIRRORED_SHARE)
    return row


def images_shown(rows: Sequence[Row], settings: AugmentConfig) -> list[Row]:
    """`rows`, and once more, mirrored, those that training may mirror: all images that it can show."""
    turned = [replace(row, mirrored=True) for row in rows if settings.mirror and not row.flip_unsafe]
    return [*rows, *turned]


def shuffle_choices(row: Row, rng: random.Random) -> Row:
    """`row` with its choices in a random order, and the answer's letter and all probabilities changed to match."""
    letters = ALL_LETTERS[: len(row.choices)]
    order = rng.sample(letters, len(letters))
    choices = tuple(row.choices[letters.index(old)] for old in order)
    shares, taught = (given and tuple(given[letters.index(old)] for old in order) for given in (row.shares, row.taught))
    return replace(row, choices=choices, answer=letters[order.index(row.answer)], shares=shares, taught=taught)


def paraphrase(question: str, rng: random.Random) -> str:
    """`question` with wordings replaced by others of the same meaning; unknown wordings stay as they are."""
    nouns = KOREAN_NOUNS[:2] if any(word in question for word in PHOTOGRAPHED) else KOREAN_NOUNS
    question = NOUN.sub(lambda found: _other_noun(found, nouns, rng), question)
    for group in (*KOREAN_SEEING, *KOREAN_ENDINGS, *ENGLISH):
        question = _swap(question, group, rng)
    return question


def _other_noun(found: re.Match[str], nouns: Sequence[str], rng: random.Random) -> str:
    noun = rng.choice(nouns)
    rest = found["rest"]
    if noun == "이미지":
        rest = CONSONANT_TO_VOWEL.get(rest, rest)
    else:
        rest = VOWEL_TO_CONSONANT.get(rest, rest)
    return found["this"] + noun + rest


def _swap(question: str, group: tuple[str, ...], rng: random.Random) -> str:
    """Replace the first wording of `group` found in `question` with a random one of the group."""
    for wording in group:
        pattern = _pattern(wording)
        if pattern.search(question):
            chosen = rng.choice(group)
            return pattern.sub(lambda found: _cased_like(found[0], chosen), question, count=1)  # noqa: B023
    return question


def _pattern(wording: str) -> re.Pattern[str]:
    """A Korean wording matches at the end of a word (an ending: of the question), an English one as whole words."""
    if wording.isascii():
        return re.compile(rf"\b{re.escape(wording)}\b", re.IGNORECASE)
    return re.compile(re.escape(wording) + (r"\s*$" if wording.endswith("?") else r"(?= )"))


def _cased_like(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new
