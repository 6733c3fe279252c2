"""Are the numbers in someone's file probabilities, of these choices, and made without the answers?

Shapes: N rows, C choices. `p_NC` are probabilities that sum to 1 over C, `answers_N` is 0 to C-1.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import norm

from vqaflow.artifacts.probability_tables import Column
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

EXACT = 1e-9  # sums this close to 1 are left as they are
FLOAT32 = 1e-5  # sums this close to 1 are scaled without a word
HALF_THOUSANDTH = 0.0005  # what rounding to three decimals changes in a number, at most
SOFTMAX = "Apply softmax: np.exp(x - x.max(1, keepdims=True)), then divide each row by its sum"
LETTER_GAIN, FALSE_ALARM = 0.1, 0.001  # another order of letters: the gain in accuracy, and the chance of a false alarm
IN_FOLD_GAP, SIGMAS = 0.05, 3.0  # averaging folds lowers the confidence on test rows by a few hundredths
FEWEST_ROWS = 20  # for a note about accuracy


def to_numbers(path: Path, name: str, column: Column, rows_N: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """The cells of a column in `rows_N`, as (N,) float64. Raises UserError that names the first cell of text."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return column[rows_N].astype(np.float64)
    cells = [str(column[row]).strip() for row in rows_N]
    try:
        return np.array([cell or "nan" for cell in cells], dtype=np.float64)
    except ValueError:
        where, cell = next((row_id, cell) for row_id, cell in zip(ids, cells, strict=True) if cell and not _reads(cell))
    cure = "Write a number from 0 to 1, with a point"
    if _reads(cell.replace(",", ".")):
        cure = "Write a decimal point, not a comma"
    elif cell.endswith("%"):
        cure = "Write 0.125, not 12.5%"
    raise UserError(f"{path}: row {where!r}, column {name}: {cell!r} is not a number. {cure}.")


def _reads(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def without_absent(
    path: Path, x_NC: np.ndarray, there_NC: np.ndarray, ids: Sequence[str]
) -> tuple[np.ndarray, list[str]]:
    """The numbers of a file (N, C) with 0 for choices that a row lacks, and a note if some are not 0 in the file.

    `there_NC` says which choices the rows have. For one that a row lacks, an empty cell counts as 0. What a row gives
    to absent choices is shared by the others, in proportion. Raises UserError that names the rows which give all to
    absent choices.
    """
    absent_NC = np.where(there_NC, 0.0, np.nan_to_num(x_NC))
    kept_NC = np.where(there_NC, x_NC, 0.0)
    given_N = np.abs(absent_NC).sum(1) > EXACT
    if (x_NC < 0).any():  # logits or the like, which `checked` refuses
        return kept_NC + absent_NC, []
    if not given_N.any():
        return kept_NC, []
    left_N = kept_NC.sum(1)
    if bad := [ids[i] for i in np.flatnonzero(given_N & ~(left_N > EXACT))]:
        raise UserError(
            f"{path}: rows {some(bad)} give nothing to the choices that the table has in these rows, only to its "
            "empty ones. Write the probabilities of the choices that are there."
        )
    which = [ids[i] for i in np.flatnonzero(given_N)]
    note = (
        f"{path}: {len(which)} rows ({some(which)}) give up to {absent_NC.max():.3g} to a choice that is empty in the "
        "table; it is shared by their other choices"
    )
    scale_N = np.where(given_N, (left_N + absent_NC.sum(1)) / np.where(given_N, left_N, 1.0), 1.0)
    return kept_NC * scale_N[:, None], [note]


def checked(
    path: Path, x_NC: np.ndarray, ids: Sequence[str], there_NC: np.ndarray | None = None
) -> tuple[np.ndarray, list[str]]:
    """The numbers of a file as probabilities (N, C) that sum to 1, and notes; `there_NC`: the choices of each row.

    Raises UserError if they are anything else: not finite, logits, logarithms, percentages, sums other than 1, or the
    same numbers in all rows. Numbers rounded to three decimals are accepted.
    """
    bad = [ids[i] for i in np.flatnonzero(~np.isfinite(x_NC).all(1))]
    if bad:
        raise UserError(f"{path}: rows {some(bad)} have NaN, infinity or an empty cell. Write a number in each cell.")
    _refuse_negative(path, x_NC, ids)
    sums_N = x_NC.sum(1)
    off_N = np.abs(sums_N - 1)
    rounded = x_NC.shape[1] * HALF_THOUSANDTH + EXACT
    if (off_N > rounded).any():
        _refuse_sums(path, x_NC, ids, rounded)
    notes = []
    if off_N.max() > FLOAT32:
        span = f"{sums_N.min():.4f} to {sums_N.max():.4f}"
        notes.append(f"{path}: rows sum to {span} (rounded); each is divided by its sum")
    p_NC = np.where(off_N[:, None] > EXACT, x_NC / sums_N[:, None], x_NC)
    return p_NC, notes + _notes_on_rows(path, p_NC, there_NC)


def _refuse_negative(path: Path, x_NC: np.ndarray, ids: Sequence[str]) -> None:
    """Raise UserError if a number is negative, and say what the numbers may be."""
    below = [ids[i] for i in np.flatnonzero((x_NC < 0).any(1))]
    if not below:
        return
    if x_NC.max() <= 0 and np.abs(np.exp(x_NC).sum(1) - 1).max() < 0.01:
        raise UserError(f"{path}: has log-probabilities. Apply exp: np.exp(x).")
    if x_NC.max() > 1 or len(below) > len(ids) / 2:
        raise UserError(f"{path}: has logits: negative numbers in {len(below)} rows ({some(below)}). {SOFTMAX}.")
    raise UserError(
        f"{path}: has negative numbers, the least {x_NC.min():.3g}, in {len(below)} rows: {some(below)}. Probabilities "
        "are 0 or more: find out where they come from (a weighted mean with a negative weight?)."
    )


def _refuse_sums(path: Path, x_NC: np.ndarray, ids: Sequence[str], tolerance: float) -> None:
    """Raise UserError that says what numbers whose sums are not 1 may be."""
    sums_N = x_NC.sum(1)
    wrong = [ids[i] for i in np.flatnonzero(np.abs(sums_N - 1) > tolerance)]
    if np.abs(sums_N - 100).max() < 100 * 0.02:
        raise UserError(f"{path}: has percentages (rows sum to 100). Divide all numbers by 100.")
    if x_NC.max() > 1 + tolerance:
        raise UserError(
            f"{path}: has numbers above 1 (up to {x_NC.max():.3g}): logits or scores, not probabilities. {SOFTMAX}."
        )
    which = f"{len(wrong)} of {len(ids)} rows, {some(wrong)}," if len(wrong) < len(ids) else "the rows"
    raise UserError(
        f"{path}: {which} sum to {sums_N.min():.4g} to {sums_N.max():.4g} instead of 1. If they are probabilities of "
        "each choice alone (sigmoid), or rounded to fewer than three decimals, divide each row by its sum; if a choice "
        "is missing or the file is damaged, write it again."
    )


def _notes_on_rows(path: Path, p_NC: np.ndarray, there_NC: np.ndarray | None) -> list[str]:
    """Notes on rows that say little. Raises UserError if all rows say the same."""
    least_N = (p_NC if there_NC is None else np.where(there_NC, p_NC, np.inf)).min(1)
    uniform_N = p_NC.max(1) - least_N < EXACT
    if uniform_N.all():
        raise UserError(f"{path}: gives all choices of all rows the same probability. Write the model's own numbers.")
    if len(p_NC) > 1 and np.ptp(p_NC, axis=0).max() < EXACT:
        raise UserError(f"{path}: has the same numbers in all rows. Write the model's own numbers.")
    notes = []
    if uniform_N.any():
        notes.append(f"{path}: {int(uniform_N.sum())} rows give all choices the same probability")
    if (p_NC.max(1) > 1 - EXACT).all():
        notes.append(f"{path}: has answers without confidence (one 1 per row, else 0); probabilities pool better")
    return notes


def check_letters(path: Path, p_NC: np.ndarray, answers_N: np.ndarray, letters: Sequence[str]) -> list[str]:
    """Notes on the agreement with the training rows' answers.

    Raises UserError if the columns, taken as other letters, agree with them far better: their order was changed.

    Agreement is counted above what the frequencies of both would give by chance (as Cohen's kappa counts it), so that a
    model which mostly says one letter is not taken for a change of order.
    """
    rows, choices = p_NC.shape
    counts_CC = np.zeros((choices, choices))
    np.add.at(counts_CC, (p_NC.argmax(1), answers_N), 1)
    chance_CC = np.outer(counts_CC.sum(1), counts_CC.sum(0)) / rows
    excess_CC = counts_CC - chance_CC
    every, best = linear_sum_assignment(-excess_CC)
    moved = every != best
    gain = excess_CC[every, best].sum() - np.trace(excess_CC)
    noise = math.sqrt((counts_CC[every, best] + np.diag(counts_CC))[moved].sum())
    own, other = np.trace(counts_CC) / rows, counts_CC[every, best].sum() / rows
    if gain > LETTER_GAIN * rows and gain > noise * norm.isf(FALSE_ALARM / math.factorial(choices)):
        raise UserError(
            f"{path}: its columns are in another order of letters: as named, {own:.3f} of the training rows are right, "
            f"and {other:.3f} if {_renamed(best, letters)}. Rename the columns accordingly."
        )
    if rows >= FEWEST_ROWS and np.trace(excess_CC) < SIGMAS * math.sqrt(np.trace(chance_CC)):
        return [
            f"{path}: its answers are right in {own:.3f} of the training rows, no more than by chance. Check that "
            "each id stands beside its own numbers."
        ]
    return []


def _renamed(best_C: np.ndarray, letters: Sequence[str]) -> str:
    """Which letter each column should be, where it is another: `best_C` has their numbers."""
    return ", ".join(f"{letters[i]} is {letters[k]}" for i, k in enumerate(best_C) if i != k)


def in_fold_notes(path: Path, oof_NC: np.ndarray, answers_N: np.ndarray, test_NC: np.ndarray) -> list[str]:
    """A warning if OOF probabilities look as if the models had seen the answers of these rows."""
    right_N = oof_NC.argmax(1) == answers_N
    oof_N, test_N = oof_NC.max(1), test_NC.max(1)
    meaning = (
        "in-fold: answers of models that were trained on these rows. Then this member's weight is far too high. Give "
        "each training row the probabilities of a model that has not seen it"
    )
    if right_N.all() and len(right_N) >= FEWEST_ROWS:
        return [f"{path}: all {len(right_N)} training rows are right. This may be {meaning}"]
    gap = min(right_N.mean(), oof_N.mean()) - test_N.mean()
    noise = math.sqrt(max(right_N.var(), oof_N.var()) / len(oof_N) + test_N.var() / len(test_N))
    if gap > IN_FOLD_GAP + SIGMAS * noise:
        return [
            f"{path}: accuracy on training rows is {right_N.mean():.3f} and mean confidence {oof_N.mean():.3f}; on "
            f"test rows, confidence is only {test_N.mean():.3f}. Unless the test rows are harder, this may be {meaning}"
        ]
    return []
