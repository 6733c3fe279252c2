"""Checks of a table's rows: cells, ids, choices, images. Each check reports problems; none changes a row."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.csv_files import Record
from vqaflow.artifacts.table_schema import ANSWER, EMPTY_CELL, input_schema
from vqaflow.data.images.decoding import ImageFacts, ImageProblem, inspect_image
from vqaflow.data.images.finding import find_image
from vqaflow.data.normal_form import normalize
from vqaflow.data.problems import ERROR, WARNING, Problems
from vqaflow.data.table_layout import IMAGE_NAMES, TableLayout


class Chunk:
    """Some records of one file as strings (`frame`), the lines they start at, and the positions of the `bad` ones."""

    def __init__(self, file: Path, layout: TableLayout, records: Sequence[Record], problems: Problems) -> None:
        self.file, self.layout, self.problems = file, layout, problems
        self.lines = [line for line, _ in records]
        self.ragged = {i: len(cells) for i, (_, cells) in enumerate(records) if len(cells) != layout.width}
        padded = [cells + [""] * (layout.width - len(cells)) for _, cells in records]
        places = layout.columns | layout.extras
        cells = {name: [row[place] for row in padded] for name, (_, place) in places.items()}
        self.frame = pd.DataFrame(cells, dtype="str")
        self.bad: set[int] = set()

    def report(self, position: int, column: str, what: str, cure: str, kind: str, severity: str = ERROR) -> None:
        """Note a problem of the record at `position`; `column` is "" if the problem is not in one cell."""
        row_id = self.frame.at[position, "id"]
        value = self.frame.at[position, column] if column else ""
        name = self.layout.user_name(column) if column else ""
        self.problems.add(
            self.file, self.lines[position], row_id, name, value, problem=what, cure=cure, kind=kind, severity=severity
        )
        if severity != WARNING:
            self.bad.add(position)


def check_cells(chunk: Chunk, id_severity: str) -> None:
    """Report ragged records, empty cells and wrong answers. An empty id has severity `id_severity`."""
    check_width(chunk, ERROR)
    whole = chunk.frame.drop(index=list(chunk.ragged))
    try:
        input_schema(list(chunk.layout.columns)).validate(whole, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases.sort_values("index", kind="stable")
        for column, check, value, position in failures[["column", "check", "failure_case", "index"]].itertuples(
            index=False
        ):
            if check == EMPTY_CELL:
                severity = id_severity if column == "id" else ERROR
                chunk.report(position, column, "the cell is empty", "Fill it in", EMPTY_CELL, severity)
            else:
                assert check == ANSWER, check
                chunk.report(position, column, *judge_answer(value, chunk.layout))


def check_width(chunk: Chunk, severity: str) -> None:
    """Report records with more or fewer cells than the header."""
    for position, count in chunk.ragged.items():
        what = f"the row has {count} cells, the header {chunk.layout.width}"
        cure = 'Put cells that contain a comma in "…"' if count > chunk.layout.width else "Add the missing cells"
        chunk.report(position, "", what, cure, "cells", severity)


def judge_answer(value: str, layout: TableLayout) -> tuple[str, str, str]:
    """What is wrong with an answer that is not one of the letters: problem, cure, kind."""
    letter = normalize(value, "NFKC").lower()
    if letter in LETTERS:
        return "the letter is written differently (upper case, spaces, full width)", f"Write {letter}", "answer_form"
    if letter in layout.extras:
        cure = f"Leave out the rows whose answer is {value}; the model only sees the four choices"
        return "the answer is a choice beyond the four that are supported", cure, "answer_value"
    return f"the answer is not one of {', '.join(LETTERS)}", "Write the letter of the right choice", "answer_value"


def check_ids(chunk: Chunk, seen: dict[str, int], severity: str, others: Mapping[str, int], other_file: Path) -> None:
    """Report ids `seen` before in the file, with `severity`, and ids of `other_file`; note new ones in `seen`."""
    for position, (row_id, line) in enumerate(zip(chunk.frame["id"], chunk.lines, strict=True)):
        if not row_id:
            continue
        if row_id in seen:
            what = f"line {seen[row_id]} has the same id"
            chunk.report(position, "id", what, "Give each row its own id", "duplicate_id", severity)
        elif row_id in others:
            what = f"line {others[row_id]} of {other_file} has the same id"
            chunk.report(position, "id", what, "Give training and test rows different ids", "id_in_train_and_test")
        seen.setdefault(row_id, line)


def check_choices(chunk: Chunk, normal_form: str) -> None:
    """Report choices that are equal. The row is used unchanged: real tables have such rows, also in test."""
    columns = [chunk.frame[letter] for letter in LETTERS]
    answers = chunk.frame["answer"] if "answer" in chunk.frame else [""] * len(chunk.frame)
    for position, (answer, *choices) in enumerate(zip(answers, *columns, strict=True)):
        if position in chunk.ragged:
            continue
        spaced = [" ".join(choice.split()) for choice in choices]
        normal = [normalize(choice, normal_form) for choice in choices]
        for i, letter in enumerate(LETTERS):
            if not spaced[i]:
                continue
            if spaced[i] in spaced[:i]:
                first = LETTERS[spaced.index(spaced[i])]
                chunk.report(position, letter, *judge_equal(chunk, first, letter, answer), WARNING)
            elif normal[i] in normal[:i]:
                first = chunk.layout.user_name(LETTERS[normal.index(normal[i])])
                what = f"equal to choice {first} after normalisation ({normal_form}); both are kept unchanged"
                chunk.report(
                    position,
                    letter,
                    what,
                    "If they are meant to differ, nothing needs to be done",
                    "merged_choices",
                    WARNING,
                )


def judge_equal(chunk: Chunk, first: str, second: str, answer: str) -> tuple[str, str, str]:
    """What to report about two equal choices: problem, cure, kind."""
    name = chunk.layout.user_name(first)
    if answer in (first, second):
        cure = "Correct one of them, or remove the row; otherwise one of two equal choices counts as wrong"
        return f"equal to choice {name}, and one of the two is the answer", cure, "ambiguous_answer"
    return f"equal to choice {name}", "Correct one if it is a mistake; the row is used unchanged", "equal_choices"


class ImageChecks:
    """Inspects image files, each once, a few at a time."""

    def __init__(self, root: Path, max_pixels: int) -> None:
        self.root, self.max_pixels = root, max_pixels
        self.known: dict[Path, ImageFacts | ImageProblem] = {}

    def inspect(self, names: Sequence[str]) -> list[ImageFacts | ImageProblem]:
        """The facts or the problem of each image cell."""
        found = [self.find(name) for name in names]
        new = {file for file in found if isinstance(file, Path)} - self.known.keys()
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            self.known.update(zip(new, threads.map(self.examine, new), strict=True))
        return [self.known[file] if isinstance(file, Path) else file for file in found]

    def find(self, name: str) -> Path | ImageProblem:
        """The real file: two paths to the same file are inspected once."""
        try:
            return find_image(name, self.root)
        except ImageProblem as problem:
            return problem

    def examine(self, file: Path) -> ImageFacts | ImageProblem:
        """Decode one file."""
        try:
            return inspect_image(file, self.max_pixels)
        except ImageProblem as problem:
            return problem.with_traceback(None)


def check_images(chunk: Chunk, images: ImageChecks) -> list[ImageFacts | None]:
    """Report what is wrong with the images. Returns the facts of each row's image, None if it is not usable."""
    filled = [i for i, name in enumerate(chunk.frame["path"]) if name.strip() and i not in chunk.ragged]
    facts: list[ImageFacts | None] = [None] * len(chunk.frame)
    other = next((name for name in IMAGE_NAMES if name in chunk.layout.extras), None)
    other_column = f", or set data.columns.image to {other!r}, which is also a column" if other else ""
    for position, found in zip(filled, images.inspect(list(chunk.frame["path"].iloc[filled])), strict=True):
        if isinstance(found, ImageProblem):
            cure = found.cure + other_column if found.kind == "image_missing" else found.cure
            chunk.report(position, "path", found.what, cure, found.kind)
            continue
        facts[position] = found
        if found.oddity:
            chunk.report(position, "path", found.oddity.what, found.oddity.cure, found.oddity.kind, WARNING)
    return facts
