"""Rule write_submission: the most probable choice for each id of the sample submission, in its order, columns, labels.

`vqaflow write_submission` runs it by hand.

Shapes: N rows of the test table, C choices.
"""

import csv
import io
from pathlib import Path

from vqaflow.artifacts.columns import PROBABILITY, letters_in, probability_columns
from vqaflow.artifacts.reading import damaged, read_table
from vqaflow.ensemble.submission.answers import accepted_of_run
from vqaflow.ensemble.submission.sample import read_sample
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import CLOSING, log


def write_submission(
    *, test: Path, sample_submission: Path, out: Path, labels: Path | None = None, test_table: Path | None = None
) -> None:
    """Write the submission from the test ensemble `test`: UTF-8 without BOM, LF, no index.

    `labels` is labels.json; without it, answers are letters. `test_table` is the checked test table. Raises UserError
    if ids are only in one of sample and ensemble, or if a row's answer is a choice that it lacks; the message names
    them.
    """
    sample = read_sample(sample_submission, labels)
    answers = best_letters(test)
    for ids, where, other in (
        ([i for i in sample.ids if i not in answers], test, sample_submission),
        (sorted(answers.keys() - set(sample.ids)), sample_submission, test),
    ):
        if ids:
            raise UserError(
                f"{where}: ids {some(ids)} are missing, while {other} has them. "
                "Give the sample submission and the test table of the same competition."
            )
    if labels is not None and test_table is not None:
        answers = in_labels(answers, labels, test_table)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sample.columns)
    writer.writerows((row_id, answers[row_id]) for row_id in sample.ids)
    write_text(out, text.getvalue())
    log.info("%d answers in %s", len(sample.ids), out, extra=CLOSING)


def best_letters(test: Path) -> dict[str, str]:
    """The most probable letter of each row of the test ensemble, by id."""
    ensemble = read_table(test, "ensemble_probabilities")
    letters = letters_in(ensemble, PROBABILITY)
    if "id" not in ensemble or not letters:
        raise damaged(test, "ensemble_probabilities", ValueError("it has no probabilities"))
    best_N = ensemble[probability_columns(letters)].to_numpy().argmax(1)
    return dict(zip(ensemble["id"], (letters[choice] for choice in best_N), strict=True))


def in_labels(answers: dict[str, str], labels: Path, test_table: Path) -> dict[str, str]:
    """The `answers`, by id, as the competition writes them."""
    accepted = accepted_of_run(labels, test_table)
    known = accepted.choices
    if absent := [row_id for row_id, letter in answers.items() if row_id in known and letter not in known[row_id]]:
        raise UserError(
            f"{test_table}: rows {some(absent)} do not have the choice that is their answer. "
            "Run the rule ensemble_probabilities again."
        )
    return {row_id: accepted.label(row_id, letter) for row_id, letter in answers.items()}
