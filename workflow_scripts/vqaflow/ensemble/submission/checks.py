"""What can be wrong with a submission: one sentence for each kind of problem."""

import csv
import io
import math
from collections.abc import Iterator, Sequence

from vqaflow.artifacts.labels import LETTERS, Labels
from vqaflow.data.near_ids import NearIds
from vqaflow.ensemble.submission.answers import FOUR, Accepted
from vqaflow.ensemble.submission.sample import Sample, duplicates
from vqaflow.runtime.messages import some

Rows = list[tuple[int, list[str]]]  # (line, fields)
TOO_RARE = 1e-6  # the chance that all right answers are the same of C choices is C^-(n - 1)
BOM = b"\xef\xbb\xbf"
NOTES = ("order:", "line ends:")  # how these problems begin
LABELS = "Answers are written "
CURES = {"absent-choice": "Their rows do not have these choices; answers are written "}


def is_note(problem: str) -> bool:
    """Whether competitions accept a file with this problem: they find rows by id, and take both kinds of line ends."""
    return problem.startswith(NOTES)


def find_problems(
    data: bytes, sample: Sample, test_ids: Sequence[str], accepted: Accepted | None = None
) -> Iterator[str]:
    """One sentence per kind of problem, with the first places where it occurs; see `is_note`.

    Without `accepted`, answers are the letters a to d.
    """
    yield from encoding_problems(data)
    text = data.removeprefix(BOM).decode("utf-8", errors="replace")
    mark = separator(text, sample)
    problem, rows = parse(text, mark)
    if problem:
        yield problem
    header = rows[0][1] if rows else []
    if tuple(header) != sample.columns or mark != ",":
        cure = f" Separate the cells by commas, not by {mark!r}." if mark != "," else header_cure(header, sample)
        yield f"columns: the first line is {mark.join(header)!r}, the sample's is {','.join(sample.columns)!r}.{cure}"
    if set(header) >= set(sample.columns):
        places = [header.index(column) for column in sample.columns]
        rows = rows[1:]
    else:
        places = [0, 1]
        rows = rows if header and header[0] in set(sample.ids) else rows[1:]  # a file without a header
    width = len(header)
    if uneven := [line for line, fields in rows if len(fields) != width]:
        yield f"fields: not as many as in the header ({len(uneven)}): {at_lines(uneven)}."
    rows = [(line, [fields[place] for place in places]) for line, fields in rows if len(fields) == width > max(places)]
    yield from id_problems([fields[0] for _, fields in rows], sample, test_ids)
    accepted = accepted or Accepted(Labels.of_family(LETTERS, FOUR))
    yield from answer_problems([(line, *fields) for line, fields in rows], accepted)


def header_cure(header: Sequence[str], sample: Sample) -> str:
    """What to do about a first line that is not the sample's."""
    if header and header[0] in set(sample.ids):
        return f" It is a row: write {','.join(sample.columns)} above it."
    if tuple(header[1:]) == sample.columns and not header[0].strip():
        return " The first column is an index: write none (pandas: index=False)."
    if sorted(header) == sorted(sample.columns):
        return " Put the columns in the sample's order."
    return " Write the sample's first line." if header else " The file is empty."


def encoding_problems(data: bytes) -> Iterator[str]:
    """A BOM, bytes that are not UTF-8, and line ends other than LF."""
    if data.startswith(BOM):
        yield "encoding: the file begins with a byte order mark (BOM); save it as UTF-8 without BOM."
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        yield f"encoding: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8."
    if b"\r" in data:
        lines = data.count(b"\r")
        line = data[: data.index(b"\r")].count(b"\n") + 1
        yield f"line ends: {lines} CR (Windows line ends), first in line {line}; use only LF."


def separator(text: str, sample: Sample) -> str:
    """What separates the cells: a comma, unless the first line is the sample's with another mark."""
    first = text.split("\n", 1)[0].rstrip("\r")
    return next((mark for mark in ";\t|" if len(first.split(mark)) == len(sample.columns) and "," not in first), ",")


def parse(text: str, mark: str = ",") -> tuple[str | None, Rows]:
    """What is wrong with the CSV itself, and its records with the lines that they end on; `mark` separates cells."""
    lines = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="")
    reader = csv.reader(lines, delimiter=mark, strict=True)
    rows: Rows = []
    empty: list[int] = []
    try:
        for fields in reader:
            if fields:
                rows.append((reader.line_num, fields))
            else:
                empty.append(reader.line_num)
    except csv.Error as error:
        return f"format: line {reader.line_num} is not CSV ({error}).", rows
    return (f"format: empty lines ({len(empty)}): {at_lines(empty)}." if empty else None), rows


def id_problems(ids: list[str], sample: Sample, test_ids: Sequence[str]) -> Iterator[str]:
    """Ids compared with the sample (missing, extra, duplicate, out of order), then the sample with the test table."""
    given, expected, known = set(ids), set(sample.ids), set(test_ids)
    near = NearIds(expected - given)
    if missing := [i for i in sample.ids if i not in given]:
        yield f"missing ids ({len(missing)}): {some(missing)}."
    if extra := [i for i in dict.fromkeys(ids) if i not in expected]:
        found = near.near(extra[0])
        like = f" {extra[0]!r} is nearly {found[0]!r}, and differs in {found[1]}." if found else ""
        yield f"extra ids ({len(extra)}), which the sample lacks: {some(extra)}.{like}"
    if repeated := duplicates(ids):
        yield f"duplicate ids ({len(repeated)}): {some(repeated)}."
    if given == expected and not repeated and ids != sample.ids:
        place = next(i for i, pair in enumerate(zip(ids, sample.ids, strict=True)) if pair[0] != pair[1])
        yield f"order: row {place + 1} has id {ids[place]!r}, the sample has {sample.ids[place]!r} there."
    if alone := sorted(expected ^ known):
        where = {True: "sample", False: "test table"}[alone[0] in expected]
        found = NearIds(known if alone[0] in expected else expected).near(alone[0])
        like = f"; {found[0]!r}, which differs in {found[1]}, is only in the other" if found else ""
        where += like
        yield f"sample and test table differ in {len(alone)} ids: {some(alone)} (the first is only in the {where})."


def answer_problems(rows: list[tuple[int, str, str]], accepted: Accepted) -> Iterator[str]:
    """Answers that are not exactly one of the labels, or a choice that the row lacks, and a column with one answer."""
    offenders: dict[str, list[str]] = {}
    for _, row_id, answer in rows:
        if kind := accepted.fault(row_id, answer):
            offenders.setdefault(kind, []).append(f"{row_id}: {answer!r}")
    for kind, found in offenders.items():
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        shown = ", ".join(found[:5])
        yield f"{kind} answers ({len(found)}): {shown}{more}. {CURES.get(kind, LABELS)}{accepted.labels}."
    letters = {accepted.letter(row_id, answer) for _, row_id, answer in rows}
    if len(letters) == 1 and not offenders and len(rows) >= rows_to_constant(len(accepted.letters)):
        yield f"constant: all {len(rows)} answers are {rows[0][2]!r}."


def rows_to_constant(choices: int) -> int:
    """From how many rows on equal answers to all of them are no chance."""
    return math.ceil(1 - math.log(TOO_RARE) / math.log(max(choices, 2)))


def at_lines(lines: Sequence[int]) -> str:
    """The first few line numbers."""
    return ", ".join(f"line {line}" for line in lines[:5]) + (" and more" if len(lines) > 5 else "")
