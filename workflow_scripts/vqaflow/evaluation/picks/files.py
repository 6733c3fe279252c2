"""The picks as submission files: most candidates are pools that no rule has written as a file.

Shapes: N rows of the test table.
"""

import csv
import io
from collections.abc import Collection
from pathlib import Path

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.evaluation.picks.advise import Advice
from vqaflow.evaluation.picks.candidates import Candidates
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text


def write_picks(advice: Advice, found: Candidates, submission: Path, folder: Path) -> list[Path]:
    """Write each pick as ``pickN.csv`` into `folder`, in the form of the current `submission`: columns, order, labels.

    Raises UserError if that file has other ids than the test table, or other answers than the current
    ensemble, or does not show the label of a choice that a pick makes.
    """
    header, records = read_csv(submission)
    places = {row_id: place for place, row_id in enumerate(found.test_ids)}
    if places.keys() != {record[0] for record in records}:
        raise UserError(f"{submission}: has other ids than the test table. Run the rule write_submission.")
    order = [places[record[0]] for record in records]
    chosen = [found.all[pick.place].test_N[order].tolist() for pick in advice.picks]
    now = found.all[0].test_N[order].tolist()
    labels = labels_of([record[1] for record in records], now, {one for each in chosen for one in each}, submission)
    written = []
    for number, answers in enumerate(chosen, start=1):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        writer.writerows((record[0], labels[choice]) for record, choice in zip(records, answers, strict=True))
        written.append(folder / f"pick{number}.csv")
        write_text(written[-1], text.getvalue())
    return written


def labels_of(given: list[str], choices: list[int], needed: Collection[int], submission: Path) -> dict[int, str]:
    """The user's label of each choice (0 to C-1), as the submission's answers show it.

    Raises UserError if the label of one of the `needed` choices cannot be known.
    """
    pairs = set(zip(choices, given, strict=True))
    labels = dict(pairs)
    if len(labels) < len(pairs):
        raise UserError(f"{submission}: has other answers than the ensemble. Run the rule write_submission.")
    if labels.items() <= dict(enumerate(ALL_LETTERS)).items():
        return {choice: ALL_LETTERS[choice] for choice in labels.keys() | set(needed)}
    if missing := sorted(set(needed) - labels.keys()):
        letters = ", ".join(ALL_LETTERS[choice] for choice in missing)
        raise UserError(
            f"{submission}: no row has choice {letters}, so that its label is not known. Write the picks by hand, or "
            "leave out --write."
        )
    return labels
