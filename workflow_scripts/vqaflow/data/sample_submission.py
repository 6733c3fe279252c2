"""Whether a submission can be made from the sample submission: the same ids as the test table, and known labels."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from vqaflow.artifacts.csv_files import Record
from vqaflow.artifacts.labels import Labels, plain_text
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.answer_labels import Given
from vqaflow.data.checks import Chunk, check_ids, check_width
from vqaflow.data.near_ids import NearIds, SeenIds
from vqaflow.data.opening import OpenTable, open_table
from vqaflow.data.problems import FATAL, Problems
from vqaflow.data.submission_labels import SampleAnswers, find_submission_labels, given_submission_labels
from vqaflow.data.table_layout import lay_out_sample
from vqaflow.runtime.stage import log

CHUNK_ROWS = 1000


def compare_ids(
    test_ids: dict[str, int],
    test_csv: Path,
    sample_submission: Path,
    names: ColumnsConfig,
    problems: Problems,
    encoding: str | None = None,
) -> OpenTable | None:
    """Report why no submission can be made from the sample submission, and return it if it can be read.

    Reasons are its columns, ids that only it or only the test table has, and repeated ids. `encoding` is data.encoding.
    """
    lay_out_header = partial(lay_out_sample, id_name=names.id, ids=test_ids)
    opened = open_table(sample_submission, lay_out_header, problems, exact=True, encoding=encoding)
    if opened is None:
        return None
    seen = SeenIds()
    near_tests, near_samples = NearIds(test_ids), NearIds(seen)
    records = opened.records()
    while batch := list(islice(records, CHUNK_ROWS)):
        chunk = Chunk(sample_submission, opened.layout, batch, problems)
        check_width(chunk, FATAL)
        check_ids(chunk, seen, FATAL)
        for position, row_id in enumerate(chunk.frame["id"]):
            if test_ids and row_id not in test_ids:
                cure = f"Add the row to {test_csv}, or use that table's own sample submission"
                what, cure = told_near(f"{test_csv} has no row with this id", cure, near_tests.near(row_id))
                chunk.report(position, "id", what, cure, "id_not_in_test", FATAL)
    for row_id, line in test_ids.items():
        if row_id not in seen:
            what = f"{sample_submission} has no row with this id"
            cure = "Add it there, or use this table's own sample submission"
            what, cure = told_near(what, cure, near_samples.near(row_id))
            problems.add(
                test_csv,
                line,
                row_id,
                names.id,
                row_id,
                problem=what,
                cure=cure,
                kind="id_not_in_sample",
                severity=FATAL,
            )
    return opened


def told_near(what: str, cure: str, near: tuple[str, str] | None) -> tuple[str, str]:
    """The problem of a missing id and its cure, with the id that it may be, if there is one."""
    if near is None:
        return what, cure
    cure = "Write it alike in both files; if a spreadsheet has changed it, take the competition's original file"
    return f"{what}, but one with {near[0]!r}, which differs in {near[1]}", cure


def decide_submission_labels(
    sample: OpenTable, test: OpenTable, train: Labels, given: Given, letters: Sequence[str], problems: Problems
) -> Labels | None:
    """The labels that the submission is written in; None, with the problem noted, if they cannot be known.

    `given` is data.submission_labels, `train` are the labels of the training answers.
    """
    columns = [test.layout.user_name(letter) for letter in letters]
    if given is not None:
        return given_submission_labels(given, columns)
    answers = SampleAnswers()
    for cells in fitting(sample.records(), sample):
        answers.note(cells[1])
    found = find_submission_labels(answers, train, columns, partial(are_texts, sample, test, letters))
    if len(found) == 3:
        what, cure, kind = found
        column = sample.layout.user_name("answer")
        problems.add(sample.path, 0, "", column, "", problem=what, cure=cure, kind=kind, severity=FATAL)
        return None
    labels, note = found
    if note:
        log.info("%s: %s", sample.path, note)
    return labels


def are_texts(sample: OpenTable, test: OpenTable, letters: Sequence[str]) -> bool:
    """Whether each answer of the sample is the text of one choice of its row."""
    answers = {cells[0]: cells[1] for cells in fitting(sample.records(), sample) if cells[1].strip()}
    at_id, *at_choices = (test.layout.columns[name][1] for name in ("id", *letters))
    rows = 0
    for cells in fitting(test.records(), test):
        if (answer := answers.get(cells[at_id])) is not None:
            rows += 1
            if plain_text(answer) not in (plain_text(cells[place]) for place in at_choices):
                return False
    return rows == len(answers)


def fitting(records: Iterator[Record], table: OpenTable) -> Iterator[list[str]]:
    """The cells of the records that fit the header."""
    return (cells for _, cells in records if len(cells) == table.layout.width)
