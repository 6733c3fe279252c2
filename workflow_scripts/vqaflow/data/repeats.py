"""Rows that repeat each other: what a test row asks may be answered in train, and training rows may contradict.

Two rows have the same content if their images have the same pixels and they ask the same question with the same
choices in any order. Case, variants of a character, spaces before punctuation and punctuation at the end make no
difference.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.compute

from vqaflow.artifacts.columns import letters_in
from vqaflow.artifacts.parquet_files import read_parquet, read_schema, write_parquet
from vqaflow.data.normal_form import normalize
from vqaflow.data.problems import LEFT_OUT, WARNING, Problems
from vqaflow.runtime.stage import log

KEEP, LEAVE_OUT = "keep", "leave_out"  # data.contradictions
END = re.compile(r"[\s.,;:!?…。、，]+$")  # what people add to a text or leave out
REPEAT_COLUMNS = ["id", "pixels", "question"]  # and the choices
LISTED = ["kind", "id", "train_id", "train_answer"]  # of the table of repeats


@lru_cache(maxsize=1 << 17)
def plain(text: str) -> str:
    """A text without what people vary when they type it twice."""
    whole = normalize(text, "NFKC").casefold()
    return END.sub("", whole) or whole


def question_keys(table: pd.DataFrame) -> list[str]:
    """What a row asks: its question and its choices in any order; a choice that the row lacks is null."""
    columns = [table[letter].tolist() for letter in letters_in(table)]
    choices = [[plain(text) if isinstance(text, str) else "" for text in column] for column in columns]
    pairs = zip(map(plain, table["question"].tolist()), zip(*choices, strict=True), strict=True)
    return ["\n".join([question, *sorted(filter(None, shown))]) for question, shown in pairs]


def content_keys(table: pd.DataFrame) -> list[str | None]:
    """What a row shows and asks; None if it has no image."""
    pairs = zip(table["pixels"], question_keys(table), strict=True)
    return [f"{pixels}\n{asked}" if isinstance(pixels, str) else None for pixels, asked in pairs]


def answer_texts(train: pd.DataFrame) -> list[str]:
    """The text of each training row's answer: the letter depends on the order of the choices."""
    letters = letters_in(train)
    rows = zip(train["answer"], *(train[letter] for letter in letters), strict=True)
    return [texts[letters.index(answer)] for answer, *texts in rows]


@dataclass(frozen=True)
class Repeats:
    """What the rows of both checked tables (REPEAT_COLUMNS, in train also answer) repeat."""

    train: pd.DataFrame
    test: pd.DataFrame

    @cached_property
    def known(self) -> list[tuple[str, str]]:
        """Test rows with the content of a training row, and that row: ids."""
        return self._pairs(content_keys)

    @cached_property
    def asked(self) -> list[tuple[str, str]]:
        """Test rows with the question and choices of a training row, whatever the images, and that row: ids."""
        return self._pairs(question_keys)

    @cached_property
    def questions(self) -> list[tuple[str, str]]:
        """Test rows with the question of a training row, whatever the choices, and that row: ids."""
        return self._pairs(lambda table: list(map(plain, table["question"])))

    @cached_property
    def contradictions(self) -> list[tuple[str, str]]:
        """Training rows, each with the first one that has the same content and another answer: ids."""
        table = self.train.assign(key=content_keys(self.train), text=list(map(plain, answer_texts(self.train))))
        table = table[table["key"].notna() & (table.groupby("key")["text"].transform("nunique") > 1)]
        firsts = table.groupby("key")
        found = {}
        for _, rows in firsts:
            for row_id, text in zip(rows["id"], rows["text"], strict=True):
                found[row_id] = rows["id"][rows["text"] != text].iloc[0]
        return [(row_id, found[row_id]) for row_id in table["id"]]

    def _pairs(self, keys: Callable[[pd.DataFrame], Sequence[str | None]]) -> list[tuple[str, str]]:
        first: dict[str | None, str] = {}
        for key, row_id in zip(keys(self.train), self.train["id"], strict=True):
            first.setdefault(key, row_id)
        first.pop(None, None)
        pairs = zip(keys(self.test), self.test["id"], strict=True)
        return [(row_id, first[key]) for key, row_id in pairs if key in first]

    def counts(self) -> dict[str, int]:
        """How many rows there are of each kind."""
        return {
            "test_rows_of_known_answer": len(self.known),
            "test_rows_of_known_question_and_choices": len(self.asked),
            "test_rows_of_known_question": len(self.questions),
            "contradicting_train_rows": len(self.contradictions),
        }

    def listed(self) -> pd.DataFrame:
        """One row for each repeat, of its closest kind, with the training row that it repeats or contradicts."""
        answers = dict(zip(self.train["id"], answer_texts(self.train), strict=True))
        closest: dict[str, tuple[str, str]] = {}
        kinds = {"question": self.questions, "question and choices": self.asked, "answer known": self.known}
        for kind, pairs in kinds.items():
            closest |= {row_id: (kind, other) for row_id, other in pairs}
        found = [(kind, row_id, other) for row_id, (kind, other) in closest.items()]
        found += [("contradiction", row_id, other) for row_id, other in self.contradictions]
        rows = [(kind, row_id, other, answers[other]) for kind, row_id, other in found]
        return pd.DataFrame(rows, columns=LISTED).sort_values("kind", kind="stable")


def judge_repeats(
    train: Path, test: Path, contradictions: str, places: Mapping[str, tuple[Path, int]], problems: Problems
) -> list[str]:
    """Tell what the rows of two checked tables repeat; `places` has the file and line of each id.

    With data.contradictions ``leave_out``, the training table is written again without the rows that contradict each
    other. Returns the ids of those.
    """
    letters = letters_in(read_schema(train).names)
    columns = {train: [*REPEAT_COLUMNS, *letters, "answer"], test: [*REPEAT_COLUMNS, *letters]}
    tables = [read_parquet(file, names).to_pandas() for file, names in columns.items()]
    repeats = Repeats(*tables)
    if told := [f"{count:,} {name.replace('_', ' ')}" for name, count in repeats.counts().items() if count]:
        log.info("tables: repeats: %s", ", ".join(told))
    left_out = note_repeats(repeats, contradictions, places, problems)
    if left_out:
        whole = read_parquet(train)
        kept = pyarrow.compute.invert(pyarrow.compute.is_in(whole["id"], pyarrow.array(left_out)))
        write_parquet(whole.filter(kept), train)
    return left_out


def note_repeats(
    repeats: Repeats, contradictions: str, places: Mapping[str, tuple[Path, int]], problems: Problems
) -> list[str]:
    """List contradicting training rows and test rows of known answer; returns the ids of the rows to leave out."""
    answers = dict(zip(repeats.train["id"], answer_texts(repeats.train), strict=True))
    for row_id, other in repeats.contradictions:
        what = f"row {other!r} has the same image, question and choices, and the answer {answers[other]!r}"
        if contradictions == LEAVE_OUT:
            cure, severity = "The row is left out (data.contradictions: leave_out); correct the wrong one", LEFT_OUT
        else:
            cure, severity = "Correct the wrong one, or set data.contradictions: leave_out", WARNING
        problems.add(
            *places[row_id],
            row_id,
            "",
            answers[row_id],
            problem=what,
            cure=cure,
            kind="contradiction",
            severity=severity,
        )
    for row_id, other in repeats.known:
        what = f"training row {other!r} has the same image, question and choices, and the answer {answers[other]!r}"
        cure = "Nothing needs to be done; accuracy on such rows says nothing about new ones"
        problems.add(*places[row_id], row_id, "", "", problem=what, cure=cure, kind="answer_known", severity=WARNING)
    return [row_id for row_id, _ in repeats.contradictions] if contradictions == LEAVE_OUT else []
