"""Rule validate_submission: does the competition accept this file, and which accuracy was measured for it?

It also checks any other file: `vqaflow validate_submission FILE --sample S --test T`. Without labels.json, answers must
be written as the sample writes them.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from vqaflow.artifacts.csv_files import UnreadableTable, refuse_other_kinds, refuse_pipes
from vqaflow.artifacts.reading import read_json
from vqaflow.ensemble.submission.answers import Accepted, accepted_answers, choices_by_id
from vqaflow.ensemble.submission.checks import Rows, find_problems, is_note, parse
from vqaflow.ensemble.submission.sample import Sample, TestRows, read_sample, read_test_rows
from vqaflow.ensemble.submission.write_submission import best_letters
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_json
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import CLOSING, log


def validate_submission(
    *,
    submission: Path,
    sample_submission: Path,
    test_table: Path,
    metrics: Path | None,
    out: Path | None,
    labels: Path | None = None,
    strict: bool = False,
    ensemble: Path | None = None,
) -> dict[str, Any]:
    """Check `submission`; return its digest, its counts per letter and the OOF accuracy in `metrics`, and write `out`.

    `test_table` is a parquet file or a CSV, `labels` is labels.json; if `ensemble` is given, the answers must be its
    best choices. Rows in another order than the sample's and Windows line ends are `notes` of the report, unless
    `strict`. Raises UserError that lists all kinds of problems and
    where they occur.
    """
    sample = read_sample(sample_submission, labels)
    data = read_bytes(submission)
    refuse_other_files(submission)
    test = read_test_rows(test_table, sample)
    _, rows = parse(data.decode("utf-8", errors="replace"))
    accepted = accepted_by(labels, sample, test, rows)
    if accepted.labels.letters is None and not accepted.choices:
        raise UserError(
            f"{test_table}: has no choices a, b, c, but the answers are texts of choices. Give the checked test table "
            "(results/tables/test.parquet)."
        )
    found = list(find_problems(data, sample, test.ids, accepted))
    notes = [problem for problem in found if is_note(problem)]
    problems = found if strict or len(notes) < len(found) else []
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        cure = f"Fix the problems below, or run write_submission:{lines}"
        raise UserError(f"{submission}: is not a valid submission. {cure}")
    if ensemble is not None:
        require_same_answers(submission, rows[1:], accepted, ensemble)
    for note in notes:
        log.warning("%s: %s Competitions take this; --strict refuses it.", submission, note)
    counts = Counter(accepted.letter(*fields) for _, fields in rows[1:])
    report = {
        "file": submission.name,
        "sha256": file_digest(submission),
        "rows": len(rows) - 1,
        "columns": list(sample.columns),
        "letters": {letter: counts[letter] for letter in accepted.letters},
        **({} if accepted.labels.is_plain else {"labels": str(accepted.labels)}),
        "oof": oof_accuracy(metrics) if metrics is not None else None,
        **({"notes": notes} if notes else {}),
    }
    if out is not None:
        write_json(out, report)
        log.info("%s is complete: %d rows", submission, report["rows"], extra=CLOSING)
    return report


def require_same_answers(submission: Path, rows: Rows, accepted: Accepted, ensemble: Path) -> None:
    """Raise UserError if an answer is not the ensemble's: the accuracy in the report would not be that of the file."""
    best = best_letters(ensemble)
    if other := [row_id for _, (row_id, answer) in rows if best.get(row_id) not in accepted.found(row_id, answer)]:
        raise UserError(
            f"{submission}: rows {some(other)} have other answers than {ensemble}: the file was "
            "changed after it was written, and its accuracy is not known. Write it again (snakemake --forcerun "
            "write_submission), or keep yours under another name and check it by vqaflow validate_submission."
        )


def accepted_by(labels: Path | None, sample: Sample, test: TestRows, rows: Rows) -> Accepted:
    """The answers that are accepted, by the file `labels` or like the sample's; `rows` are the submission's."""
    given = [fields[1] for _, fields in rows[1:] if len(fields) == 2]
    choices = choices_by_id(test.ids, test.choices) if test.choices else {}
    shown = dict(zip(sample.ids, sample.answers, strict=True))
    return accepted_answers(labels, shown, given, choices, len(test.choices))


def refuse_other_files(path: Path) -> None:
    """Raise UserError if the file is not text, or in UTF-16, or text of another kind than CSV."""
    try:
        refuse_other_kinds(path)
    except UnreadableTable as fault:
        raise UserError(f"{path}: {fault}.") from None


def oof_accuracy(metrics: Path) -> dict[str, Any]:
    """The accuracy with its intervals that evaluate_oof measured."""
    keys = ("accuracy", "n", "wilson", "bootstrap")
    overall = read_json(metrics, "evaluate_oof", [f"overall.{key}" for key in keys])["overall"]
    return {key: overall[key] for key in keys}


def read_bytes(path: Path) -> bytes:
    """The bytes of the file. Raises UserError if it cannot be read."""
    refuse_pipes(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Check the path.") from None
