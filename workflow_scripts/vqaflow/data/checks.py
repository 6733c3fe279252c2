"""Checks of a table's rows: cells, ids, choices, images. Each check reports problems; none changes a row."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from vqaflow.artifacts.columns import FEWEST_CHOICES, letters_in
from vqaflow.artifacts.csv_files import Record
from vqaflow.artifacts.labels import Labels
from vqaflow.artifacts.table_schema import EMPTY_CELL, input_schema, is_visible
from vqaflow.data.answer_labels import judge_label
from vqaflow.data.images.changes import bytes_of
from vqaflow.data.images.decoding import ACCEPT, STOP, ImageFacts, ImageProblem, inspect_image, wrong_extension
from vqaflow.data.images.finding import find_image
from vqaflow.data.images.visual_tokens import least_max_pixels
from vqaflow.data.near_ids import SeenIds, difference
from vqaflow.data.normal_form import normalize
from vqaflow.data.problems import ERROR, WARNING, Problems
from vqaflow.data.table_layout import IMAGE_NAMES, TableLayout

# Characters for one token, of ASCII and of other scripts: the most that tokenizers take on average, and as usual.
MOST_CHARACTERS, USUAL_CHARACTERS = (8.0, 4.0), (4.0, 1.5)
THREADS = min(8, os.cpu_count() or 1)
FILES_AT_ONCE = 8  # that a thread gets: small ones take less time than handing them over
WRONG_EXTENSION = "image_extension"  # the only oddity that is about a name


class Chunk:
    """Some records of one file as strings (`frame`), the lines they start at, and the positions of the `bad` ones.

    `id_prefix` is put before the ids in the frame, by which problems name the rows.
    """

    def __init__(
        self, file: Path, layout: TableLayout, records: Sequence[Record], problems: Problems, id_prefix: str = ""
    ) -> None:
        self.file, self.layout, self.problems = file, layout, problems
        self.lines = [line for line, _ in records]
        self.ragged = {i: cells for i, (_, cells) in enumerate(records) if len(cells) != layout.width}
        padded = [cells + [""] * (layout.width - len(cells)) for _, cells in records]
        places = layout.columns | layout.extras
        cells = {name: [row[place] for row in padded] for name, (_, place) in places.items()}
        self.ids = cells["id"]
        self.frame = pd.DataFrame(cells | {"id": [id_prefix + i if i else i for i in self.ids]}, dtype="str")
        self.letters = letters_in(layout.columns)
        self.bad: set[int] = set()

    @cached_property
    def choices(self) -> list[dict[str, str]]:
        """The choices of each row by letter, without those that it lacks."""
        columns = [self.frame[letter] for letter in self.letters]
        rows = zip(*columns, strict=True)
        return [{x: text for x, text in zip(self.letters, row, strict=True) if is_visible(text)} for row in rows]

    def report(self, position: int, column: str, what: str, cure: str, kind: str, severity: str = ERROR) -> None:
        """Note a problem of the record at `position`; `column` is "" if the problem is not in one cell."""
        row_id = self.frame.at[position, "id"]
        value = self.ids[position] if column == "id" else self.frame.at[position, column] if column else ""
        name = self.layout.user_name(column) if column else ""
        self.problems.add(
            self.file, self.lines[position], row_id, name, value, problem=what, cure=cure, kind=kind, severity=severity
        )
        if severity != WARNING:
            self.bad.add(position)


def check_cells(chunk: Chunk, id_severity: str, missing_choices: str = STOP) -> None:
    """Report ragged records, empty cells, and rows with fewer than two choices.

    An empty id has severity `id_severity`; rows may lack choices if `missing_choices` is ``accept``.
    """
    check_width(chunk, ERROR)
    whole = chunk.frame.drop(index=list(chunk.ragged))
    columns = list(chunk.layout.columns)
    if missing_choices == ACCEPT:
        columns = [name for name in columns if name not in chunk.letters]
        for position, choices in enumerate(chunk.choices):
            if len(choices) < FEWEST_CHOICES and position not in chunk.ragged:
                count = f"{len(choices)} choice{'s' * (len(choices) != 1)}"
                what = f"the row has {count} but needs at least {FEWEST_CHOICES}"
                chunk.report(position, "", what, "Fill the others in, or leave out the row", "few_choices")
    try:
        input_schema(columns).validate(whole, lazy=True)
    except pa.errors.SchemaErrors as errors:
        failures = errors.failure_cases.sort_values("index", kind="stable")
        counts = failures["index"].value_counts()
        mostly_empty = counts.index[(counts > 2) & (2 * counts > len(columns))]
        for position in sorted(mostly_empty):
            filled = [chunk.layout.user_name(name) for name in columns if is_visible(chunk.frame.at[position, name])]
            what = f"all cells that are read are empty, but for {', '.join(filled)}"
            severity = ERROR if "id" in columns and is_visible(chunk.frame.at[position, "id"]) else id_severity
            chunk.report(position, "", what, "Delete the row, or fill in its cells", EMPTY_CELL, severity)
        failures = failures[~failures["index"].isin(mostly_empty)]
        for column, position in failures[["column", "index"]].itertuples(index=False):
            severity = id_severity if column == "id" else ERROR
            cure = "Fill it in"
            if column in chunk.letters:
                cure += ", or set data.missing_choices: accept if rows may have fewer choices"
            chunk.report(position, column, "the cell is empty", cure, EMPTY_CELL, severity)


def check_answers(chunk: Chunk, labels: Labels, columns: Sequence[str], missing_choices: str = STOP) -> list[list[str]]:
    """The letters that the answers in `columns` of each row stand for; reports those that stand for none.

    An empty cell among those of several people is one who has not answered.
    """
    found: list[list[str]] = [[] for _ in chunk.lines]
    for column in columns:
        for position, answer in enumerate(chunk.frame[column]):
            if position in chunk.ragged or not is_visible(answer):
                continue
            letters = labels.letters_of(answer, chunk.choices[position])
            if len(letters) != 1:
                chunk.report(position, column, *judge_label(answer, labels, chunk.layout, chunk.letters))
            elif missing_choices == ACCEPT and letters[0] not in chunk.choices[position]:
                what = f"the answer is choice {chunk.layout.user_name(letters[0])}, which the row does not have"
                chunk.report(position, column, what, "Correct the answer, or fill in that choice", "answer_absent")
            else:
                found[position] += letters
    if "answer" not in columns:
        for position, given in enumerate(found):
            if not given and position not in chunk.bad and position not in chunk.ragged:
                what, cure = "nobody has answered: all columns of answers are empty", "Leave out the row"
                chunk.report(position, "", what, cure, EMPTY_CELL)
    return found


def check_length(chunk: Chunk, max_tokens: int) -> None:
    """Report rows whose question and choices have more tokens than `max_tokens`, before a base model counts them.

    Without its tokenizer the number is not known. A row that is too long even if each token takes many characters is an
    error, one that is too long if it takes the usual number a warning.
    """
    names = ["question", *chunk.letters]
    for position, cells in enumerate(zip(*(chunk.frame[name] for name in names), strict=True)):
        if sum(map(len, cells)) <= max_tokens:  # no tokenizer makes more tokens of usual text
            continue
        least, usual = (token_count(cells, *characters) for characters in (MOST_CHARACTERS, USUAL_CHARACTERS))
        if usual <= max_tokens:
            continue
        longest = max(zip(map(len, cells), names, strict=True))[1]
        count = f"{sum(map(len, cells)):,} characters, about {usual:,} tokens"
        what = f"question and choices have {count}; prompt.max_tokens is {max_tokens:,}"
        cure = f"Shorten the cell {chunk.layout.user_name(longest)}, or raise prompt.max_tokens"
        severity = ERROR if least > max_tokens else WARNING
        chunk.report(position, "", what, cure, "too_long", severity)


def token_count(cells: Sequence[str], of_ascii: float, of_others: float) -> int:
    """The tokens of `cells` if each token takes so many characters of ASCII, or of other scripts."""
    ascii_count = sum(sum(map(str.isascii, cell)) for cell in cells)
    return round(ascii_count / of_ascii + (sum(map(len, cells)) - ascii_count) / of_others)


def check_width(chunk: Chunk, severity: str) -> None:
    """Report records with more or fewer cells than the header."""
    for position, cells in chunk.ragged.items():
        what = f"the row has {len(cells)} cells, the header {chunk.layout.width}"
        if any("\n" in cell for cell in cells):
            what += ", and it goes over several lines"
            cure = "Look for a quotation mark that is not closed in its own cell"
        elif len(cells) < chunk.layout.width:
            cure = "Add the missing cells"
        elif any(cell.strip() for cell in cells[chunk.layout.width :]):
            cure = 'Put cells that contain a comma in "…"'
        else:
            cure = 'Remove the empty cells at its end; if a cell before them contains a comma, put it in "…"'
        chunk.report(position, "", what, cure, "cells", severity)


@dataclass(frozen=True)
class OtherIds:
    """The ids of another `file` with their lines, and the `cure` and `kind` of a problem if a row has one of them."""

    file: Path
    ids: Mapping[str, int]
    cure: str = "Give training and test rows different ids"
    kind: str = "id_in_train_and_test"


def check_ids(chunk: Chunk, seen: SeenIds, severity: str, others: Sequence[OtherIds] = ()) -> None:
    """Report ids `seen` before in the file, with `severity`, and ids of `others`; note new ones in `seen`.

    Ids that only look the same are used, with a warning.
    """
    for position, (row_id, line) in enumerate(zip(chunk.frame["id"], chunk.lines, strict=True)):
        if not row_id:
            continue
        if row_id in seen:
            what = f"line {seen[row_id]} has the same id"
            chunk.report(position, "id", what, "Give each row its own id", "duplicate_id", severity)
        elif other := next((other for other in others if row_id in other.ids), None):
            what = f"line {other.ids[row_id]} of {other.file} has the same id"
            chunk.report(position, "id", what, other.cure, other.kind)
        elif twin := seen.twin(row_id):
            what = f"line {seen[twin]} has the id {twin!r}, which differs in {difference(row_id, twin)}"
            cure = "If both are meant to be one row, correct the ids; as they stand, they are two rows"
            chunk.report(position, "id", what, cure, "near_duplicate_id", WARNING)
        seen.note(row_id, line)


def check_choices(chunk: Chunk, normal_form: str) -> None:
    """Report choices that are equal. The row is used unchanged: real tables have such rows, also in test.

    The answers in the frame are letters by now.
    """
    columns = [chunk.frame[letter] for letter in chunk.letters]
    answers = chunk.frame["answer"] if "answer" in chunk.frame else [""] * len(chunk.frame)
    for position, (answer, *choices) in enumerate(zip(answers, *columns, strict=True)):
        if position in chunk.ragged:
            continue
        spaced = [" ".join(choice.split()) for choice in choices]
        normal = [normalize(choice, normal_form) for choice in choices]
        for i, letter in enumerate(chunk.letters):
            if not spaced[i]:
                continue
            if spaced[i] in spaced[:i]:
                first = chunk.letters[spaced.index(spaced[i])]
                chunk.report(position, letter, *judge_equal(chunk, first, letter, answer), WARNING)
            elif normal[i] in normal[:i]:
                first = chunk.layout.user_name(chunk.letters[normal.index(normal[i])])
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

    def __init__(
        self,
        root: Path,
        max_pixels: int,
        truncated: str = STOP,
        follow_links: bool = False,
        resize_limits: Sequence[Sequence[int]] = (),
    ) -> None:
        self.root, self.max_pixels, self.resize_limits = root, max_pixels, resize_limits
        self.options: Mapping[str, Any] = {"truncated": ACCEPT} if truncated == ACCEPT else {}
        self.linked: Mapping[str, Any] = {"follow_links": True} if follow_links else {}
        self.places: dict[str, Path | ImageProblem] = {}  # what each cell names
        self.known: dict[Path, ImageFacts | ImageProblem] = {}
        self.shown: dict[Path, Path] = {}  # the real file of each path in the tables
        self.not_found: set[Path] = set()

    def inspect(self, names: Sequence[str]) -> list[ImageFacts | ImageProblem]:
        """The facts or the problem of each image cell."""
        named = {name: self.find(name) for name in dict.fromkeys(names) if name not in self.places}
        self.places |= named
        new = list({file for file in named.values() if isinstance(file, Path)} - self.known.keys())
        with ThreadPoolExecutor(THREADS) as threads:
            size = min(FILES_AT_ONCE, max(1, len(new) // THREADS))
            some = [new[first : first + size] for first in range(0, len(new), size)]
            facts = threads.map(lambda files: [self.examine(file) for file in files], some)
            self.known.update(zip(new, chain.from_iterable(facts), strict=True))
        self.shown |= {self.path_of(name, file): file for name, file in named.items() if isinstance(file, Path)}
        pairs = [(name, self.places[name]) for name in names]
        return [as_named(name, self.known[file]) if isinstance(file, Path) else file for name, file in pairs]

    def find(self, name: str) -> Path | ImageProblem:
        """The real file: two paths to the same file are inspected once."""
        try:
            return find_image(name, self.root, **self.linked)
        except ImageProblem as problem:
            self.not_found.add(self.root / name)
            return problem.without_frames()

    def path_of(self, name: str, file: Path) -> Path:
        """The path by which a table names a file; the file's own if it is written in another way."""
        path = self.root / name
        return path if path.exists() else file

    def seen(self) -> dict[str, str]:
        """The sha256 of each path of the tables, which may be a link, that was looked at or for; "" without a file."""
        usable = {
            path: facts.sha256 for path, file in self.shown.items() if isinstance(facts := self.known[file], ImageFacts)
        }
        others = {*self.shown, *self.not_found} - usable.keys()
        return {str(file): sha256 for file, sha256 in (usable | {file: bytes_of(file) for file in others}).items()}

    def examine(self, file: Path) -> ImageFacts | ImageProblem:
        """Decode one file, and see whether each view of the run can show it."""
        try:
            facts = inspect_image(file, self.max_pixels, **self.options)
        except ImageProblem as problem:
            return problem.without_frames()
        return too_thin(facts, self.resize_limits) or facts


def too_thin(facts: ImageFacts, limits: Sequence[Sequence[int]]) -> ImageProblem | None:
    """The problem of an image that would be resized to nothing under one of the `limits` (model/resize_limits.py)."""
    needed = [(least_max_pixels(facts.width, facts.height, *limit), *limit) for limit in limits]
    worst = max((limit for limit in needed if limit[0] is not None), default=None)
    if worst is None:
        return None
    least, pixels, largest = worst
    what = (
        f"the image is too thin: of its {facts.width} x {facts.height} pixels, max_pixels {largest:,} would leave "
        f"less than one row of visual tokens ({pixels} pixels)"
    )
    return ImageProblem("image_shape", what, f"Crop the image, or raise max_pixels (model or view) to {least:,}")


def as_named(name: str, facts: ImageFacts | ImageProblem) -> ImageFacts | ImageProblem:
    """The facts with what is odd about the name in the table, and not about that of a file that a link leads to."""
    if isinstance(facts, ImageProblem):
        return facts
    others = [oddity for oddity in facts.oddities if oddity.kind != WRONG_EXTENSION]
    wrong = wrong_extension(name, facts.format) if facts.format else None
    return replace(facts, oddities=(*others, *([wrong] if wrong else [])))


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
        for oddity in found.oddities:
            chunk.report(position, "path", oddity.what, oddity.cure, oddity.kind, WARNING)
    return facts
