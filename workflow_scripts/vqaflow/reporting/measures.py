"""The metrics that competitions score: accuracy, balanced accuracy, macro-F1, cross-entropy; exact, with intervals.

Beside them two of the probabilities: the Brier score, and AURC, which says how well confidence sorts right answers from
wrong ones. As in scikit-learn, balanced accuracy is the mean recall over the letters that are an answer, and macro-F1
the mean F1 over the letters that are an answer or are predicted.

Shapes: N rows, C choices, G groups, X pairs of letters. `counts_CC` are rows by right letter, then by predicted letter.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from vqaflow.reporting.risk_coverage import risk_coverage_area
from vqaflow.reporting.statistics import BOOTSTRAP_DRAWS, CONFIDENCE, as_shares, bootstrap_interval, log_losses

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "nll")  # what `ensemble.metric` may be


def confusion(answers_N: np.ndarray, predicted_N: np.ndarray, choices: int) -> np.ndarray:
    """Rows by right letter and predicted letter (C, C)."""
    return np.bincount(answers_N * choices + predicted_N, minlength=choices**2).reshape(choices, choices)


def accuracy(counts_CC: np.ndarray) -> float:
    """The share of the rows that are right."""
    return float(np.trace(counts_CC) / counts_CC.sum())


def balanced_accuracy(counts_CC: np.ndarray) -> float:
    """The mean recall over the letters that are an answer."""
    support_C = counts_CC.sum(1)
    asked = support_C > 0
    return float((counts_CC.diagonal()[asked] / support_C[asked]).mean())


def macro_f1(counts_CC: np.ndarray) -> float:
    """The mean of 2 · right / (answers + predictions) over the letters that are an answer or are predicted."""
    both_C = counts_CC.sum(0) + counts_CC.sum(1)
    seen = both_C > 0
    return float((2 * counts_CC.diagonal()[seen] / both_C[seen]).mean())


OF_COUNTS: dict[str, Callable[[np.ndarray], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}


def measures(
    probabilities_NC: np.ndarray, answers_N: np.ndarray, groups_N: np.ndarray, shares_NC: np.ndarray | None, seed: int
) -> dict[str, Any]:
    """Each metric with its bootstrap interval over groups; None without rows, and no interval with one group.

    The cross-entropy and the Brier score (see `statistics.brier`) are those to the people's shares, if they are given.
    Accuracy has the draws of `bootstrap_interval`.
    """
    choices, predicted_N = probabilities_NC.shape[1], probabilities_NC.argmax(1)
    counts_CC = confusion(answers_N, predicted_N, choices)
    intervals = _intervals(answers_N, predicted_N, groups_N, choices, seed)
    found: dict[str, Any] = {
        name: {"value": measure(counts_CC), "bootstrap": intervals.get(name)} for name, measure in OF_COUNTS.items()
    }
    targets = answers_N if shares_NC is None else shares_NC
    squares_N = ((probabilities_NC - as_shares(targets, choices)) ** 2).sum(1)
    for name, losses_N in (("nll", log_losses(probabilities_NC, targets)), ("brier", squares_N)):
        found[name] = {"value": float(losses_N.mean()), "bootstrap": bootstrap_interval(losses_N, groups_N, seed)}
    return found | {"aurc": risk_coverage_area(probabilities_NC.max(1), predicted_N != answers_N, groups_N, seed)}


def _intervals(
    answers_N: np.ndarray, predicted_N: np.ndarray, groups_N: np.ndarray, choices: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of the metrics of counts; whole groups are drawn."""
    _, group_N = np.unique(groups_N, return_inverse=True)
    groups = int(group_N.max(initial=-1)) + 1
    if groups < 2:
        return {}
    cells = choices**2
    place_N = group_N * cells + answers_N * choices + predicted_N
    counts_GX = np.bincount(place_N, minlength=groups * cells).reshape(groups, cells).astype(np.float64)
    rng, drawn = np.random.default_rng(seed), {name: np.empty(BOOTSTRAP_DRAWS) for name in OF_COUNTS}
    for draw in range(BOOTSTRAP_DRAWS):
        times_G = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        counts_CC = (times_G @ counts_GX).reshape(choices, choices)
        for name, measure in OF_COUNTS.items():
            drawn[name][draw] = measure(counts_CC)
    ends = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    return {name: tuple(map(float, np.quantile(values, ends))) for name, values in drawn.items()}


# --- differences of two systems, row by row ---


def value(metric: str, answers_N: np.ndarray, predicted_N: np.ndarray, losses_N: np.ndarray, choices: int) -> float:
    """The metric of a system, as a number that is higher for better ones: of `nll` the negative."""
    if metric == "nll":
        return -float(losses_N.mean())
    return OF_COUNTS[metric](confusion(answers_N, predicted_N, choices))


def gains(metric: str, answers_N: np.ndarray, first_N: np.ndarray, second_N: np.ndarray, choices: int) -> np.ndarray:
    """What each row adds to the second system's gain over the first, in rows: the mean over N is the gain.

    `first_N` and `second_N` are the predicted letters. Accuracy: 1 where only the second is right, -1 where only the
    first is. Balanced accuracy: the same, divided by how frequent the row's answer is, times the number of letters that
    are an answer. Macro-F1: with t rows right, d = answers + predictions and F = 2 t / d of a letter, its gain is
    exactly (2 (t2 - t1) - F1 (d2 - d1)) / d2 = (2 (t2 - t1) - F2 (d2 - d1)) / d1, sums over rows once F and d are
    known; the mean of both is taken.
    """
    right1_N, right2_N = first_N == answers_N, second_N == answers_N
    gain_N = right2_N.astype(np.float64) - right1_N
    if metric == "accuracy":
        return gain_N
    support_C = np.bincount(answers_N, minlength=choices)
    rows = len(answers_N)
    if metric == "balanced_accuracy":
        return gain_N * rows / (np.count_nonzero(support_C) * support_C[answers_N])
    d1_C, d2_C = (support_C + np.bincount(p_N, minlength=choices) for p_N in (first_N, second_N))
    t1_C, t2_C = (np.bincount(answers_N[right_N], minlength=choices) for right_N in (right1_N, right2_N))
    f1_C, f2_C = (2 * t_C / np.maximum(d_C, 1) for t_C, d_C in ((t1_C, d1_C), (t2_C, d2_C)))
    per_right_C = 1 / np.maximum(d2_C, 1) + 1 / np.maximum(d1_C, 1)
    per_prediction_C = (f1_C / np.maximum(d2_C, 1) + f2_C / np.maximum(d1_C, 1)) / 2
    gain_N = gain_N * per_right_C[answers_N] - per_prediction_C[second_N] + per_prediction_C[first_N]
    return gain_N * rows / np.count_nonzero(d1_C + d2_C)
