"""Rule write_submission: the most probable letter for each id of the sample submission, in its order and columns.

`vqaflow write_submission` runs it by hand.

Shapes: N rows of the test table.
"""

import csv
import io
from pathlib import Path

import numpy as np

from vqaflow.artifacts.columns import LETTERS, PROBABILITIES
from vqaflow.artifacts.reading import read_table
from vqaflow.ensemble.submission.sample import read_sample
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import log


def write_submission(*, test: Path, sample_submission: Path, out: Path) -> None:
    """Write the submission from the test ensemble `test`: UTF-8 without BOM, LF, no index.

    Raises UserError if ids are only in one of the two files; the message names them.
    """
    sample = read_sample(sample_submission)
    ensemble = read_table(test, "ensemble_probabilities", ["id", *PROBABILITIES])
    best_N = ensemble[PROBABILITIES].to_numpy().argmax(1)
    answers = dict(zip(ensemble["id"], np.array(LETTERS)[best_N].tolist(), strict=True))
    for ids, where, other in (
        ([i for i in sample.ids if i not in answers], test, sample_submission),
        (sorted(answers.keys() - set(sample.ids)), sample_submission, test),
    ):
        if ids:
            raise UserError(
                f"{where}: ids {some(ids)} are missing, while {other} has them. "
                "Give the sample submission and the test table of the same competition."
            )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sample.columns)
    writer.writerows((row_id, answers[row_id]) for row_id in sample.ids)
    write_text(out, text.getvalue())
    log.info("%d answers in %s", len(sample.ids), out)
