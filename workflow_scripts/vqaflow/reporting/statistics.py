"""How sure a number is: intervals for an accuracy, paired tests of two systems, and measures of calibration.

Shapes: N rows, C choices, G groups, B bins. `right_N` is boolean, `probabilities_NC` sums to 1 over C, `answers_N` is
0 to C-1. `answers` are either those or, where several people answered, the share of people who gave each choice (N, C):
a row then counts as right by the share of people who gave the chosen one.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm

from vqaflow.reporting.sign_flips import sign_flip_p_values

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 2000
RELIABILITY_BINS = 15
Interval = tuple[float, float]


def wilson(right: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of the share `right`/`n` (E. B. Wilson 1927); (0, 1) without rows."""
    if n == 0:
        return 0.0, 1.0
    low, high = binomtest(right, n).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


def leaderboard_half_width(accuracy: float, n: int, confidence: float = CONFIDENCE) -> float:
    """How far a leaderboard of `n` rows scatters around a true `accuracy`: z · sqrt(p (1 - p) / n)."""
    return float(norm.ppf((1 + confidence) / 2)) * math.sqrt(accuracy * (1 - accuracy) / n)


def bootstrap_interval(values_N: np.ndarray, groups_N: np.ndarray, seed: int = 0) -> Interval | None:
    """95 % percentile interval of the mean of `values_N`; whole groups are drawn, since their rows are not independent.

    For a paired interval, pass the difference of two systems' `right_N`. With fewer than two groups it is None: nothing
    shows how much groups differ.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    sizes_G = np.bincount(group_N)
    if len(sizes_G) < 2:
        return None
    sums_G = np.bincount(group_N, weights=np.asarray(values_N, np.float64))
    rng = np.random.default_rng(seed)
    means = np.empty(BOOTSTRAP_DRAWS)
    for draw in range(BOOTSTRAP_DRAWS):
        drawn = rng.integers(0, len(sizes_G), len(sizes_G))
        means[draw] = sums_G[drawn].sum() / sizes_G[drawn].sum()
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def accuracy_summary(right_N: np.ndarray, groups_N: np.ndarray | None = None, seed: int = 0) -> dict[str, Any]:
    """Accuracy with n and its Wilson interval; with `groups_N` also its bootstrap interval."""
    n, right = len(right_N), int(np.sum(right_N))
    summary: dict[str, Any] = {"n": n, "right": right, "accuracy": right / n if n else None, "wilson": wilson(right, n)}
    if groups_N is not None:
        summary["bootstrap"] = bootstrap_interval(right_N, groups_N, seed)
    return summary


def widest(summary: Mapping[str, Any]) -> Interval:
    """The interval that covers both the Wilson and the bootstrap interval of an accuracy_summary.

    Wilson's treats rows of one group as independent and is then too narrow; the bootstrap has no width at 0 or 1.
    """
    lows, highs = zip(summary["wilson"], summary.get("bootstrap") or summary["wilson"], strict=True)
    return min(lows), max(highs)


def paired_summary(first_N: np.ndarray, second_N: np.ndarray, groups_N: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The second system against the first on the same rows: gain, bootstrap interval, sign-flip test of groups."""
    only_first, only_second = int(np.sum(first_N & ~second_N)), int(np.sum(second_N & ~first_N))
    difference_N = second_N.astype(np.float64) - first_N
    return {
        "n": len(first_N),
        "gain": float(difference_N.mean()) if len(first_N) else None,
        "bootstrap": bootstrap_interval(difference_N, groups_N, seed),
        "only_first_right": only_first,
        "only_second_right": only_second,
        "p_value": sign_flip_p_values([difference_N], groups_N, seed)[0],
    }


def as_shares(answers: np.ndarray, choices: int) -> np.ndarray:
    """The share of people who gave each choice (N, C): of one answer, its unit vector."""
    return answers if answers.ndim == 2 else np.eye(choices)[answers]


def share_given(answers: np.ndarray, values_NC: np.ndarray) -> np.ndarray:
    """The mean (N) of each row's values over the people's answers: of one answer, the value of that choice."""
    if answers.ndim == 1:
        return values_NC[np.arange(len(answers)), answers]
    return (answers * np.where(answers > 0, values_NC, 0.0)).sum(1)  # a choice that a row lacks may have -inf


def reliability(probabilities_NC: np.ndarray, answers: np.ndarray, bins: int = RELIABILITY_BINS) -> dict[str, Any]:
    """Rows in equal bins of the probability of their best choice: count, mean confidence and accuracy per bin."""
    confidence_N = probabilities_NC.max(1)
    predicted_N = probabilities_NC.argmax(1)
    right_N = predicted_N == answers if answers.ndim == 1 else answers[np.arange(len(answers)), predicted_N]
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    count_B = np.bincount(bin_N, minlength=bins)
    filled = count_B > 0
    confidence_B = np.bincount(bin_N, weights=confidence_N, minlength=bins)[filled] / count_B[filled]
    accuracy_B = np.bincount(bin_N, weights=right_N, minlength=bins)[filled] / count_B[filled]
    return {"n": count_B[filled].tolist(), "confidence": confidence_B.tolist(), "accuracy": accuracy_B.tolist()}


def expected_calibration_error(probabilities_NC: np.ndarray, answers: np.ndarray) -> float:
    """ECE: the mean gap between confidence and accuracy over the bins of `reliability`, weighted by their rows."""
    bins = reliability(probabilities_NC, answers)
    gaps = np.abs(np.subtract(bins["confidence"], bins["accuracy"]))
    return float(np.average(gaps, weights=bins["n"]))


def brier(probabilities_NC: np.ndarray, answers: np.ndarray) -> float:
    """Brier score over all choices: mean squared distance to the right choice's unit vector, or the shares; 0 to 2."""
    target_NC = as_shares(answers, probabilities_NC.shape[1])
    return float(((probabilities_NC - target_NC) ** 2).sum(1).mean())


def log_losses(probabilities_NC: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """-log of the right choice's probability in nats (N), its mean over the people; 0 counts as the smallest float."""
    return -share_given(answers, np.log(np.maximum(probabilities_NC, np.finfo(np.float64).tiny)))


def negative_log_likelihood(probabilities_NC: np.ndarray, answers: np.ndarray) -> float:
    """The mean of `log_losses`: the cross-entropy to the answers, or to the people's shares."""
    return float(log_losses(probabilities_NC, answers).mean())


def calibration_summary(probabilities_NC: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """ECE, Brier score, negative log-likelihood and the bins of the reliability figure."""
    return {
        "ece": expected_calibration_error(probabilities_NC, answers),
        "brier": brier(probabilities_NC, answers),
        "nll": negative_log_likelihood(probabilities_NC, answers),
        "reliability": reliability(probabilities_NC, answers),
    }


def recall_by_letter(predicted_N: np.ndarray, answers_N: np.ndarray, letters: int) -> list[float | None]:
    """For each of so many letters (or positions), the share of its rows that are predicted right; None without rows."""
    return [
        float(np.mean(predicted_N[answers_N == letter] == letter)) if np.any(answers_N == letter) else None
        for letter in range(letters)
    ]


def recall_spread(recalls: list[float | None]) -> float | None:
    """RStd of Zheng et al. (arXiv 2309.03882): the standard deviation of the recalls; 0 means no position bias."""
    known = [recall for recall in recalls if recall is not None]
    return float(np.std(known)) if len(known) == len(recalls) else None
