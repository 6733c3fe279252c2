"""AURC, the area under the risk-coverage curve: how well confidence sorts right answers from wrong ones.

It is the mean over all rows of the error rate among the rows that are at least as confident:

    AURC = 1/N · sum over i of (errors among rows with confidence >= c_i) / (number of such rows)

(Geifman, Uziel and El-Yaniv, "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019, arXiv
1805.08206). 0 is the best value. Confidence that says nothing gives about the error rate. A system that makes errors
has more than 0, even if its wrong rows are its least confident ones.

Shapes: N rows, B levels of confidence (rows of equal confidence share one), G groups.
"""

from typing import Any

import numpy as np

from vqaflow.reporting.statistics import BOOTSTRAP_DRAWS, CONFIDENCE


def risk_coverage_area(
    confidence_N: np.ndarray, wrong_N: np.ndarray, groups_N: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """AURC and its 95 % percentile interval, for which whole groups are drawn; no interval with one group."""
    levels, level_N = np.unique(-confidence_N, return_inverse=True)  # the most confident rows first
    _, group_N = np.unique(groups_N, return_inverse=True)
    groups = int(group_N.max(initial=-1)) + 1

    def area(times_N: np.ndarray) -> float:
        """AURC if each row occurs so many times."""
        rows_B = np.bincount(level_N, weights=times_N, minlength=len(levels))
        wrong_B = np.bincount(level_N, weights=times_N * wrong_N, minlength=len(levels))
        risk_B = wrong_B.cumsum() / np.maximum(rows_B.cumsum(), 1)
        return float(rows_B @ risk_B / rows_B.sum())

    found: dict[str, Any] = {"value": area(np.ones(len(level_N))), "bootstrap": None}
    if groups > 1:
        rng = np.random.default_rng(seed)
        drawn = [
            area(np.bincount(rng.integers(0, groups, groups), minlength=groups)[group_N])
            for _ in range(BOOTSTRAP_DRAWS)
        ]
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        found["bootstrap"] = float(low), float(high)
    return found
