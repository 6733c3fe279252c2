"""The picks as submission files: most candidates are pools that no rule has written as a file.

Shapes: N rows of the test table.
"""

import csv
import io
from pathlib import Path

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.ensemble.submission.answers import Accepted
from vqaflow.evaluation.picks.advise import Advice
from vqaflow.evaluation.picks.candidates import Candidates
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text


def write_picks(advice: Advice, found: Candidates, submission: Path, accepted: Accepted, folder: Path) -> list[Path]:
    """Write each pick as ``pickN.csv`` into `folder`, with the columns and the order of the current `submission`.

    Labels are those that are `accepted`. Raises UserError if the submission has other ids than the test table.
    """
    header, records = read_csv(submission)
    places = {row_id: place for place, row_id in enumerate(found.test_ids)}
    if places.keys() != {record[0] for record in records}:
        raise UserError(f"{submission}: has other ids than the test table. Run the rule write_submission.")
    order = [places[record[0]] for record in records]
    chosen = [found.all[pick.place].test_N[order].tolist() for pick in advice.picks]
    written = []
    for number, answers in enumerate(chosen, start=1):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for (row_id, *_), choice in zip(records, answers, strict=True):
            writer.writerow((row_id, accepted.label(row_id, ALL_LETTERS[choice])))
        written.append(folder / f"pick{number}.csv")
        write_text(written[-1], text.getvalue())
    return written
