"""Reading anyone's probabilities: CSV, parquet or npz files with ids, checked before anything is made of them.

Rows are told by their ids, never by their order. docs/exchange.md shows which files are read.

Shapes: N rows of a table, in its order, C choices. Probabilities sum to 1 over C.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqaflow.artifacts.probability_checks import check_letters, checked, in_fold_notes, to_numbers, without_absent
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
    left_out: Collection[str],
    letters: Sequence[str],
    there: tuple[np.ndarray, np.ndarray] | None = None,
) -> ForeignMember:
    """Read the OOF and the test file of one member, for tables whose choices are `letters`.

    `answers_N` (0 to C-1) are the training rows' answers; `left_out` are ids of rows that the tables left out, which
    the files may have. `there` says which choices the rows of both tables have (N, C); None: all.

    Raises UserError as `read_probabilities`, also if the two files are swapped.
    """
    train = WantedRows(train_ids, TRAIN, left_out, set(test_ids), TEST)
    test = WantedRows(test_ids, TEST, left_out, set(train_ids), TRAIN)
    of_train, of_test = there or (None, None)
    oof_NC, oof_notes = _read(Path(oof_path), train, answers_N, letters, of_train)
    test_NC, test_notes = _read(Path(test_path), test, None, letters, of_test)
    doubts = in_fold_notes(Path(oof_path), oof_NC, np.asarray(answers_N), test_NC)
    return ForeignMember(oof_NC, test_NC, (*oof_notes, *test_notes, *doubts))


def read_probabilities(
    path: Path | str,
    ids: Sequence[str],
    letters: Sequence[str],
    answers_N: np.ndarray | None = None,
    there_NC: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """The probabilities (N, C) of the rows `ids`, float64, in that order, and notes for the user.

    `letters` are the choices of the table, and `there_NC` says which of them each row has (None: all).
    Raises UserError that names file, row and cure: if the file is not a whole CSV, parquet or npz, if its ids are not
    exactly `ids`, if a choice has no column or two, if the numbers are not probabilities, or if `answers_N` (0 to C-1)
    show that the columns are in another order of letters.
    """
    return _read(Path(path), WantedRows(ids), answers_N, letters, there_NC)


def _read(
    path: Path,
    wanted: WantedRows,
    answers_N: np.ndarray | None,
    letters: Sequence[str],
    there_NC: np.ndarray | None,
) -> tuple[np.ndarray, list[str]]:
    table = read_raw(path, len(letters))
    layout = find_layout(table, letters)
    rows_N, notes = match_ids(path, id_texts(table.columns[layout.id]), wanted)
    columns = [to_numbers(path, table.names[i], table.columns[i], rows_N, wanted.ids) for i in layout.choices]
    x_NC, absent = np.stack(columns, axis=1), []
    if there_NC is not None and not there_NC.all():
        x_NC, absent = without_absent(path, x_NC, there_NC, wanted.ids)
    p_NC, more = checked(path, x_NC, wanted.ids, there_NC)
    doubts = [] if answers_N is None else check_letters(path, p_NC, np.asarray(answers_N), letters)
    return p_NC, [*notes, *absent, *more, *doubts]
