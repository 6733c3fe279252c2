"""Checks of the section `data` that the schema cannot express: columns, labels, and further training tables."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.encodings.names import codec_of, known_names
from vqaflow.artifacts.labels import FAMILIES
from vqaflow.config.sections import merged
from vqaflow.runtime.messages import did_you_mean, nearest

WORDS_OF_WINDOWS = {
    "ansi": "'cp949' (of Windows in Korean), 'cp1252' (English), 'cp932' (Japanese) or 'gbk' (Chinese)",
    "unicode": "'utf_16'",
    "unicode_big_endian": "'utf_16_be'",
    "utf_8_bom": "'utf_8_sig'",
    "utf_8_with_bom": "'utf_8_sig'",
}


def data_problems(data: Mapping[str, Any]) -> Iterator[str]:
    """All problems, each with its key and cure."""
    columns = data["columns"]
    yield from column_problems("data.columns", columns)
    yield from encoding_problems("data.encoding", data["encoding"])
    yield from answer_problems("data.answers", data["answers"], columns["choices"])
    yield from people_problems("data", data["answers_by"], columns)
    yield from submission_problems("data.submission_labels", data["submission_labels"], columns["choices"])
    sources = {Path(data["train_csv"]).stem: "data.train_csv"}
    for number, entry in enumerate(data["more_train"]):
        where = f"data.more_train.{number}"
        own = merged(columns, entry.get("columns") or {})
        yield from column_problems(f"{where}.columns", own)
        if len(own["choices"]) != len(columns["choices"]):
            counts = f"{len(own['choices'])} columns, but data.columns.choices names {len(columns['choices'])}"
            yield f"{where}.columns.choices: it names {counts}. Name as many; their cells may be empty."
        if "answers" in entry or own["choices"] != columns["choices"]:  # else they are told of data itself
            yield from answer_problems(f"{where}.answers", entry.get("answers", data["answers"]), own["choices"])
        if "answers_by" in entry or own != columns:
            yield from people_problems(where, entry.get("answers_by", data["answers_by"]), own)
        name = entry.get("name") or Path(entry["csv"]).stem
        if name in sources:
            yield f"{where}: its rows would have the source {name!r}, like those of {sources[name]}. Give it a name."
        sources.setdefault(name, where)


def column_problems(where: str, columns: Mapping[str, Any]) -> Iterator[str]:
    """Names that two columns have."""
    names = [columns["id"], columns["image"], columns["question"], *columns["choices"], columns["answer"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{where}: {name!r} is given twice. Name each column once."


def encoding_problems(where: str, name: str | None) -> Iterator[str]:
    """A name that no encoding has."""
    if name is None or codec_of(name):
        return
    plain = re.sub(r"[- ]", "_", name.strip().lower()).removeprefix("windows_").removeprefix("x_")
    number = re.search(r"\d+$", plain)  # of a code page, whatever a database calls it
    page = f"cp{number[0]}" if number and codec_of(f"cp{number[0]}") else None
    close = WORDS_OF_WINDOWS.get(plain.removeprefix("ms_"))
    if not close and (name_of_python := page or nearest(plain, known_names())):
        close = repr(name_of_python)
    other = ". Write a name that Python knows, such as gb18030, cp1252 or koi8_r."
    cure = f"; did you mean {close}?" if close else other
    yield f"{where}: {name!r} is not an encoding of text{cure}"


def answer_problems(where: str, labels: Any, choices: Sequence[str]) -> Iterator[str]:
    """Labels of answers that stand for no choice."""
    if isinstance(labels, str):
        yield from family_problems(where, labels)
    elif labels is not None:
        if not labels:
            yield f"{where}: it has no labels. Write null, or a choice for each label."
        for label, choice in labels.items():
            yield from choice_problems(f"{where}.{label}", choice, choices)


def people_problems(where: str, people: Sequence[str] | None, columns: Mapping[str, Any]) -> Iterator[str]:
    """Columns of several people's answers that hold something else; the one right answer may be a person's."""
    others = {columns["id"], columns["image"], columns["question"], *columns["choices"]}
    for name in sorted(others & set(people or ())):
        yield f"{where}.answers_by: {name!r} is one of {where}.columns. Name only columns of answers."


def submission_problems(where: str, labels: Any, choices: Sequence[str]) -> Iterator[str]:
    """Labels of the submission that leave out a choice, or that two choices have."""
    if isinstance(labels, str):
        yield from family_problems(where, labels)
    elif labels is not None:
        for choice, label in labels.items():
            yield from choice_problems(f"{where}.{choice}", choice, choices)
            if isinstance(label, bool):
                quotes = "Put the label in quotes, as YAML reads yes, no, on and off as true or false."
                yield f"{where}.{choice}: {str(label).lower()} is not text. {quotes}"
        written = [str(label) for label in labels.values()]
        if len(labels) != len(choices) or len(set(written)) != len(choices) or not all(written):
            yield f"{where}: each of the {len(choices)} choices needs a label of its own. Add or change labels."


def family_problems(where: str, family: str) -> Iterator[str]:
    """A name that is not one of a kind of labels."""
    if family not in FAMILIES:
        yield f"{where}: {family!r} is unknown; {did_you_mean(family, FAMILIES)}"


def choice_problems(where: str, choice: Any, choices: Sequence[str]) -> Iterator[str]:
    """A choice that is neither a letter of the table nor the name of a column."""
    letters = ALL_LETTERS[: len(choices)]
    if str(choice) not in (*letters, *choices):
        known = f"a letter from a to {letters[-1]}, nor a column of data.columns.choices"
        yield f"{where}: {choice!r} is neither {known}. Correct it."
