"""Reading anyone's probabilities: CSV, parquet or npz files with ids, checked before anything is made of them.

Rows are told by their ids, never by their order. docs/exchange.md shows which files are read.

Shapes: N rows of a table, in its order, C choices. Probabilities sum to 1 over C.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.probability_checks import check_letters, checked, in_fold_notes, to_numbers
from vqaflow.artifacts.probability_columns import find_layout
from vqaflow.artifacts.probability_ids import WantedRows, id_texts, match_ids
from vqaflow.artifacts.probability_tables import read_raw

TRAIN, TEST = "training table", "test table"


@dataclass(frozen=True)
class ForeignMember:
    """What someone's two files say of the training rows and of the test rows (N, C), and `notes` for the user."""

    oof_NC: np.ndarray
    test_NC: np.ndarray
    notes: tuple[str, ...]


def read_pair(
    oof_path: Path | str,
    test_path: Path | str,
    train_ids: Sequence[str],
    answers_N: np.ndarray,
    test_ids: Sequence[str],
    left_out: Collection[str] = (),
    letters: Sequence[str] = LETTERS,
) -> ForeignMember:
    """Read the OOF and the test file of one member.

    `answers_N` (0 to C-1) are the training rows' answers; `left_out` are ids of rows that the tables left out, which
    the files may have. Raises UserError as `read_probabilities`, also if the two files are swapped.
    """
    train = WantedRows(train_ids, TRAIN, left_out, set(test_ids), TEST)
    test = WantedRows(test_ids, TEST, left_out, set(train_ids), TRAIN)
    oof_NC, oof_notes = _read(Path(oof_path), train, answers_N, letters)
    test_NC, test_notes = _read(Path(test_path), test, None, letters)
    doubts = in_fold_notes(Path(oof_path), oof_NC, np.asarray(answers_N), test_NC)
    return ForeignMember(oof_NC, test_NC, (*oof_notes, *test_notes, *doubts))


def read_probabilities(
    path: Path | str, ids: Sequence[str], answers_N: np.ndarray | None = None, letters: Sequence[str] = LETTERS
) -> tuple[np.ndarray, list[str]]:
    """The probabilities (N, C) of the rows `ids`, float64, in that order, and notes for the user.

    Raises UserError that names file, row and cure: if the file is not a whole CSV, parquet or npz, if its ids are not
    exactly `ids`, if a choice has no column or two, if the numbers are not probabilities, or if `answers_N` (0 to C-1)
    show that the columns are in another order of letters.
    """
    return _read(Path(path), WantedRows(ids), answers_N, letters)


def _read(
    path: Path, wanted: WantedRows, answers_N: np.ndarray | None, letters: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    table = read_raw(path, len(letters))
    layout = find_layout(table, letters)
    rows_N, notes = match_ids(path, id_texts(table.columns[layout.id]), wanted)
    columns = [to_numbers(path, table.names[i], table.columns[i], rows_N, wanted.ids) for i in layout.choices]
    p_NC, more = checked(path, np.stack(columns, axis=1), wanted.ids)
    doubts = [] if answers_N is None else check_letters(path, p_NC, np.asarray(answers_N), letters)
    return p_NC, [*notes, *more, *doubts]
