"""Which column of a table holds what, going by its header and a few of its rows."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS, FEWEST_CHOICES, MOST_CHOICES
from vqaflow.artifacts.labels import CAPITALS, CIRCLED, FROM_0, FROM_1, KOREAN, LETTERS, SIGNS, plain_text
from vqaflow.data.images.finding import SUFFIXES
from vqaflow.data.people import people_columns

# Names without spaces, lines, dots and differences of case; the likelier ones first.
IMAGE = "path image imagepath imgpath img imagefile imagename filename filepath file imageid picture photo".split()
IMAGE += "이미지 이미지경로 이미지파일 파일명 파일 사진".split()
QUESTION = "question questiontext query prompt q text instruction 질문 문제 문항".split()
ID = "id questionid qid rowid sampleid uid index idx no num number key 번호 아이디 순번".split()
ANSWER = "answer correctanswer rightanswer goldanswer gold label target correct gt groundtruth solution".split()
ANSWER += "answers answerkey 정답 답 라벨".split()
CHOICE_STEMS = {"", "choice", "choices", "option", "options", "opt", "candidate", "보기", "선택지", "선지", "항목"}
MOST_LETTERS = 200  # of a cell that may name an image


@dataclass(frozen=True)
class Guess:
    """The columns of a table by what they seem to hold; "" or () where there is none.

    `people` hold the answers of several people.
    """

    id: str = ""
    image: str = ""
    question: str = ""
    choices: tuple[str, ...] = ()
    answer: str = ""
    people: tuple[str, ...] = ()

    @property
    def asks(self) -> bool:
        """Whether the table has all that a question needs."""
        return bool(self.id and self.image and self.question and self.choices)

    def lacking(self) -> list[str]:
        """What a table of questions needs and this one does not seem to have."""
        names = {"id": self.id, "image": self.image, "question": self.question, "choices": self.choices}
        return [name for name, found in names.items() if not found]

    def config(self) -> dict[str, Any]:
        """The keys of data.columns that differ from those that are found without being named."""
        usual: Mapping[str, Any] = {"id": "id", "image": "path", "question": "question", "answer": "answer"}
        own = {"id": self.id, "image": "path" if self.image == "image" else self.image, "question": self.question}
        own |= {"answer": self.answer} if self.answer else {}
        changed: dict[str, Any] = {name: found for name, found in own.items() if found != usual[name]}
        if self.choices != ALL_LETTERS[:4]:
            changed["choices"] = list(self.choices)
        return changed


def guess_columns(header: Sequence[str], rows: Sequence[Sequence[str]], with_choices: Sequence[str] = ()) -> Guess:
    """What the columns of `header` hold, going by their names and by some `rows`.

    `with_choices` are the columns of the test table, which decide among several that may be choices.
    """
    cells = {name: [row[place] for row in rows if place < len(row)] for place, name in enumerate(header)}
    left = [name for name in header if name.strip()]
    answer = named(left, ANSWER)
    choices = choose_choices(sequences(left), with_choices or left, cells)
    left = [name for name in left if name not in choices]
    if answer in choices:
        answer = named(left, ANSWER)
    people = () if answer else tuple(people_columns(left, answer or "answer"))
    left = [name for name in left if name != answer and name not in people]
    image = named_with_pictures(left, cells) or named(left, IMAGE) or with_pictures(left, cells)
    left = [name for name in left if name != image]
    row_id = named([name for name in left if are_unique(cells[name])], ID)
    if not row_id:
        row_id = next((name for name in left if are_unique(cells[name]) and is_short(cells[name])), named(left, ID))
    left = [name for name in left if name != row_id]
    question = named(left, QUESTION) or longest(left, cells)
    left = [name for name in left if name != question]
    if not choices:
        choices = by_answers(left, with_choices, cells, answer)
    return Guess(row_id, image, question, choices, answer, people)


def plain(name: str) -> str:
    """A column's name without what does not tell names apart."""
    return re.sub(r"[\s_.\-]+", "", unicodedata.normalize("NFC", name)).casefold()


def named(header: Sequence[str], names: Sequence[str]) -> str:
    """The column with the first of `names` that one has; "" if there is none."""
    by_name = {plain(name): name for name in reversed(header)}
    return next((by_name[name] for name in names if name in by_name), "")


def sequences(header: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Columns that are numbered or lettered without a gap from the first on, with the stem of their names."""
    found = []
    for family in (LETTERS, CAPITALS, FROM_1, FROM_0, CIRCLED, KOREAN):
        by_stem: dict[str, dict[str, str]] = {}
        for name in header:
            text = unicodedata.normalize("NFC", name.strip())
            for sign in sorted(SIGNS[family], key=len, reverse=True):
                if text.endswith(sign):
                    by_stem.setdefault(plain(text[: -len(sign)]), {}).setdefault(sign, name)
                    break
        for stem, names in by_stem.items():
            inner = [sign for sign in SIGNS[family] if sign in names]
            if FEWEST_CHOICES <= len(inner) <= MOST_CHOICES and inner == list(SIGNS[family][: len(inner)]):
                found.append((stem, tuple(names[sign] for sign in inner)))
    return found


def choose_choices(
    found: Sequence[tuple[str, tuple[str, ...]]], test_header: Sequence[str], cells: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """The columns of choices among the sequences `found`: those that the test table has too, called like choices."""
    there = set(test_header)

    def rank(one: tuple[str, tuple[str, ...]]) -> tuple[bool, bool, bool, int]:
        stem, names = one
        people = bool(people_columns(names, "answer")) and are_labels([cell for name in names for cell in cells[name]])
        return (not people, there.issuperset(names), stem in CHOICE_STEMS, len(names))

    best = max(found, key=rank, default=("", ()))
    return best[1] if best[1] and rank(best)[0] else ()


def are_labels(cells: Sequence[str]) -> bool:
    """Whether all cells are signs of choices, as the answers of people are."""
    signs = {sign for family in SIGNS.values() for sign in family}
    return {cell.strip() for cell in cells} <= signs | {""}


def looks_like_picture(cell: str) -> bool:
    """Whether a cell names an image file."""
    return len(cell) <= MOST_LETTERS and Path(cell.strip()).suffix.lower() in SUFFIXES


def with_pictures(header: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """The first column most of whose cells name image files; "" if there is none."""
    return next(
        (name for name in header if cells[name] and 2 * sum(map(looks_like_picture, cells[name])) > len(cells[name])),
        "",
    )


def named_with_pictures(header: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """The column that is called like one of images, and whose cells name image files."""
    return named([name for name in header if with_pictures([name], cells)], IMAGE)


def are_unique(cells: Sequence[str]) -> bool:
    """Whether cells may be ids: filled, and each another."""
    return bool(cells) and len(set(cells)) == len(cells) and all(cell.strip() for cell in cells)


def is_short(cells: Sequence[str]) -> bool:
    """Whether no cell has spaces inside, as ids have none."""
    return all(len(cell.split()) == 1 for cell in cells)


def longest(header: Sequence[str], cells: Mapping[str, Sequence[str]]) -> str:
    """The column with the longest texts, if most of these have several words; "" if there is none."""
    lengths = {name: sum(map(len, cells[name])) for name in header if cells[name]}
    best = max(lengths, key=lambda name: lengths[name], default="")
    several = sum(len(cell.split()) > 1 for cell in cells.get(best, ()))
    return best if best and 2 * several > len(cells[best]) else ""


def by_answers(
    header: Sequence[str], test_header: Sequence[str], cells: Mapping[str, Sequence[str]], answer: str
) -> tuple[str, ...]:
    """Columns without a common name that answers point to, by their names or their texts."""
    columns = [name for name in header if name in test_header] if test_header else list(header)
    given = [cell.strip() for cell in cells.get(answer, ())]
    if not FEWEST_CHOICES <= len(columns) <= MOST_CHOICES or not given:
        return ()
    texts = [{plain_text(cells[name][row]) for name in columns} for row in range(len(given))]
    fitting = sum(text in columns or plain_text(text) in own for text, own in zip(given, texts, strict=True) if text)
    return tuple(columns) if 2 * fitting > len(given) else ()
