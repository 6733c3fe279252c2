"""The picks as submission files: most candidates are pools that no rule has written as a file.

Shapes: N rows of the test table.
"""

import csv
import io
from pathlib import Path

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.evaluation.picks.advise import Advice
from vqaflow.evaluation.picks.candidates import Candidates
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text


def write_picks(advice: Advice, found: Candidates, submission: Path, folder: Path) -> list[Path]:
    """Write each pick as ``pickN.csv`` into `folder`, in the form of the current `submission`: columns, order, labels.

    Raises UserError if that file has other ids than the test table, or other answers than the current ensemble.
    """
    header, records = read_csv(submission)
    places = {row_id: place for place, row_id in enumerate(found.test_ids)}
    if places.keys() != {record[0] for record in records}:
        raise UserError(f"{submission}: has other ids than the test table. Run the rule write_submission.")
    order = [places[record[0]] for record in records]
    labels = labels_of([record[1] for record in records], found.all[0].test_N[order].tolist(), submission)
    written = []
    for number, pick in enumerate(advice.picks, start=1):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        answers = found.all[pick.place].test_N[order].tolist()
        writer.writerows((record[0], labels[choice]) for record, choice in zip(records, answers, strict=True))
        written.append(folder / f"pick{number}.csv")
        write_text(written[-1], text.getvalue())
    return written


def labels_of(given: list[str], choices: list[int], submission: Path) -> dict[int, str]:
    """The user's label of each choice (0 to C-1), as the submission's answers show it."""
    pairs = set(zip(choices, given, strict=True))
    labels = dict(pairs)
    if len(labels) < len(pairs):
        raise UserError(f"{submission}: has other answers than the ensemble. Run the rule write_submission.")
    own = dict(enumerate(LETTERS))
    return own | labels if labels.items() <= own.items() else labels
