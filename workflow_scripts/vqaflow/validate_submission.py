"""Rule validate_submission: is a file what the competition accepts, and on which accuracy does it rest?

It also runs alone on any file: `python -m vqaflow.validate_submission FILE --sample S --test T`.
"""

import argparse
import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vqaflow.config import LETTERS
from vqaflow.errors import UserError
from vqaflow.files import file_digest, write_json
from vqaflow.progress import log, stage
from vqaflow.score_files import some
from vqaflow.submission_files import Sample, duplicates, read_sample, read_test_ids

Rows = list[tuple[int, list[str]]]  # (line, fields)
# All right answers to n questions are one letter with a chance of 4^-(n - 1): from here on less than one in a million.
ROWS_TO_CONSTANT = 11
BOM = b"\xef\xbb\xbf"


def validate_submission(
    *, submission: Path, sample_submission: Path, test_table: Path, metrics: Path | None, out: Path | None
) -> dict[str, Any]:
    """Check `submission` and return its digest, counts a letter and the OOF accuracy in `metrics`; write it to `out`.

    `test_table` is a parquet file or a CSV. Raises UserError that lists every kind of problem with its first offenders.
    """
    sample = read_sample(sample_submission)
    problems = list(find_problems(read_bytes(submission), sample, read_test_ids(test_table)))
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise UserError(f"{submission}: is no valid submission. Mend what follows, or run write_submission:{lines}")
    _, rows = parse(submission.read_bytes().decode("utf-8"))
    counts = Counter(fields[1] for _, fields in rows[1:])
    report = {
        "file": submission.name,
        "sha256": file_digest(submission),
        "rows": len(rows) - 1,
        "columns": list(sample.columns),
        "letters": {letter: counts[letter] for letter in LETTERS},
        "oof": oof_accuracy(metrics) if metrics is not None else None,
    }
    if out is not None:
        write_json(out, report)
    return report


def oof_accuracy(metrics: Path) -> dict[str, Any]:
    """The accuracy with its intervals that evaluate_oof measured."""
    try:
        overall = json.loads(metrics.read_text(encoding="utf-8"))["overall"]
        return {key: overall[key] for key in ("accuracy", "n", "wilson", "bootstrap")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{metrics}: is no metrics.json of evaluate_oof ({error}). Run the rule evaluate_oof."
        ) from None


def read_bytes(path: Path) -> bytes:
    """The file as it is."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None


def find_problems(data: bytes, sample: Sample, test_ids: Sequence[str]) -> Iterator[str]:
    """One sentence a kind of problem, with its first offenders."""
    yield from encoding_problems(data)
    problem, rows = parse(data.removeprefix(BOM).decode("utf-8", errors="replace"))
    if problem:
        yield problem
    header = rows[0][1] if rows else []
    if tuple(header) != sample.columns:
        yield f"columns: the first line is {','.join(header)!r}, the sample's is {','.join(sample.columns)!r}."
    if set(header) >= set(sample.columns):
        places = [header.index(column) for column in sample.columns]
        rows = rows[1:]
    else:
        places = [0, 1]
        rows = rows if header and header[0] in set(sample.ids) else rows[1:]  # a file without a header
    width = len(header)
    if uneven := [line for line, fields in rows if len(fields) != width]:
        yield f"fields: another number than in the header ({len(uneven)}): {at_lines(uneven)}."
    rows = [(line, [fields[place] for place in places]) for line, fields in rows if len(fields) == width > max(places)]
    yield from id_problems([fields[0] for _, fields in rows], sample, test_ids)
    yield from answer_problems([(line, *fields) for line, fields in rows])


def encoding_problems(data: bytes) -> Iterator[str]:
    """BOM, bytes that are no UTF-8, and line ends other than LF."""
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
        yield f"line ends: {lines} CR (Windows line ends), first in line {line}; use LF alone."


def parse(text: str) -> tuple[str | None, Rows]:
    """The CSV's records with the lines they end on, and what is wrong with the CSV itself."""
    reader = csv.reader(io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline=""), strict=True)
    rows: Rows = []
    empty: list[int] = []
    try:
        for fields in reader:
            if fields:
                rows.append((reader.line_num, fields))
            else:
                empty.append(reader.line_num)
    except csv.Error as error:
        return f"format: line {reader.line_num} is no CSV ({error}).", rows
    return (f"format: empty lines ({len(empty)}): {at_lines(empty)}." if empty else None), rows


def id_problems(ids: list[str], sample: Sample, test_ids: Sequence[str]) -> Iterator[str]:
    """Ids against the sample, in this order: missing, extra, duplicate, out of order; and sample against test table."""
    given, expected, known = set(ids), set(sample.ids), set(test_ids)
    if missing := [i for i in sample.ids if i not in given]:
        yield f"missing ids ({len(missing)}): {some(missing)}."
    if extra := [i for i in dict.fromkeys(ids) if i not in expected]:
        yield f"extra ids ({len(extra)}), which the sample lacks: {some(extra)}."
    if repeated := duplicates(ids):
        yield f"duplicate ids ({len(repeated)}): {some(repeated)}."
    if given == expected and not repeated and ids != sample.ids:
        place = next(i for i, pair in enumerate(zip(ids, sample.ids, strict=True)) if pair[0] != pair[1])
        yield f"order: row {place + 1} has id {ids[place]!r}, the sample has {sample.ids[place]!r} there."
    if alone := sorted(expected ^ known):
        where = {True: "sample", False: "test table"}[alone[0] in expected]
        yield f"sample and test table differ in {len(alone)} ids: {some(alone)} (the first is only in the {where})."


def answer_problems(rows: list[tuple[int, str, str]]) -> Iterator[str]:
    """Answers that are not exactly one of a, b, c, d; and a column that never changes."""
    offenders: dict[str, list[str]] = {}
    for _, row_id, answer in rows:
        if kind := answer_kind(answer):
            offenders.setdefault(kind, []).append(f"{row_id}: {answer!r}")
    for kind, found in offenders.items():
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        yield f"{kind} answers ({len(found)}): {', '.join(found[:5])}{more}."
    answers = {answer for _, _, answer in rows}
    if len(rows) >= ROWS_TO_CONSTANT and len(answers) == 1 and not offenders:
        yield f"constant: all {len(rows)} answers are {answers.pop()!r}."


def answer_kind(answer: str) -> str | None:
    """What is wrong with one answer: blank, padded, upper-case or non-letter; None if nothing."""
    if answer in LETTERS:
        return None
    stripped = answer.strip()
    if not stripped:
        return "blank"
    if stripped.lower() in LETTERS:
        return "padded" if stripped != answer else "upper-case"
    return "non-letter"


def at_lines(lines: Sequence[int]) -> str:
    """The first few line numbers."""
    return ", ".join(f"line {line}" for line in lines[:5]) + (" and more" if len(lines) > 5 else "")


def main() -> None:
    """Check any file."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.validate_submission", description=__doc__)
    parser.add_argument("file", type=Path, help="the submission")
    parser.add_argument("--sample", type=Path, required=True, help="the sample submission (CSV)")
    parser.add_argument("--test", type=Path, required=True, help="the test table (CSV or parquet)")
    parser.add_argument("--metrics", type=Path, help="metrics.json of evaluate_oof: the accuracy it rests on")
    parser.add_argument("--out", type=Path, help="write the report here as JSON")
    given = parser.parse_args()
    with stage(None):
        report = validate_submission(
            submission=given.file,
            sample_submission=given.sample,
            test_table=given.test,
            metrics=given.metrics,
            out=given.out,
        )
        log.info("%s: valid. %s", given.file, json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    main()
