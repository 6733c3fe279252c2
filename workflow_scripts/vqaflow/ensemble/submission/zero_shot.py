"""Rule answer_zero_shot: a first submission from an untuned base's scores of the test rows, before anything is trained.

`vqaflow answer_zero_shot` runs it by hand. The answer is the most probable choice, by the plain mean over the views, as
in the member's own answers; the training rows need not be scored for it.

Shapes: N rows of the test table, V views, C choices.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from vqaflow.artifacts.choices import OWN, choices_there, read_with_letters
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.reading import letters_of_table
from vqaflow.artifacts.score_files import row_index, score_files, views_of
from vqaflow.ensemble.pool_member import answer_columns, mean_of_views, pool_block
from vqaflow.ensemble.submission.validate_submission import validate_submission
from vqaflow.ensemble.submission.write_submission import write_submission
from vqaflow.runtime.files import atomic_path
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log


def answer_zero_shot(
    *,
    scores: Sequence[Path],
    test_table: Path,
    labels: Path,
    sample_submission: Path,
    order_pooling: str,
    main: str,
    probabilities: Path,
    out: Path,
) -> None:
    """Write the submission `out` and its `probabilities` from the test `scores` of an untuned member, and check it.

    `main` is the view that has every row. Raises UserError if a row is missing, or if the submission is not valid.
    """
    files = score_files(scores)
    views, letters = views_of(files), tuple(letters_of_table(test_table, "validate_tables"))
    rows = read_with_letters(test_table, ["id"])
    there_NC = choices_there(rows[OWN], letters)
    with ProgressBar(len(files), "pool", unit="file") as bar:
        logp_NVC = pool_block(files, views, row_index(rows["id"]), there_NC, order_pooling, {}, bar, main)
    with atomic_path(probabilities) as partial:
        answers = {"id": rows["id"]} | answer_columns(mean_of_views(logp_NVC))
        write_parquet(pl.DataFrame(answers), partial)
    given = {"sample_submission": sample_submission, "labels": labels, "test_table": test_table}
    write_submission(test=probabilities, out=out, **given)
    report = validate_submission(submission=out, metrics=None, out=None, **given)
    shares = ", ".join(f"{letter} {count}" for letter, count in report["letters"].items())
    log.info("%s is valid and can be handed in; its answers: %s", out, shares)
