"""Bootstrap intervals of many candidates at once, from the same draws of groups.

Shapes: K candidates, N rows, G groups, R draws.
"""

import numpy as np

from vqaflow.evaluation.picks.beliefs import sums_by_group
from vqaflow.reporting.statistics import BOOTSTRAP_DRAWS, CONFIDENCE, Interval


def bootstrap_means(right_KN: np.ndarray, groups_N: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Each candidate's accuracy in each draw of whole groups (K, R); None with fewer than two groups.

    The draws are those of `bootstrap_interval`, so that the interval of two rows' difference is that of
    `paired_summary`.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    sizes_G = np.bincount(group_N)
    if len(sizes_G) < 2:
        return None
    sums_KG = sums_by_group(right_KN, group_N, len(sizes_G))
    rng = np.random.default_rng(seed)
    means_RK = np.empty((BOOTSTRAP_DRAWS, len(right_KN)))
    for draw in range(BOOTSTRAP_DRAWS):
        times_G = np.bincount(rng.integers(0, len(sizes_G), len(sizes_G)), minlength=len(sizes_G))
        means_RK[draw] = sums_KG @ times_G / (sizes_G @ times_G)
    return means_RK.T


def interval_of(means_R: np.ndarray) -> Interval:
    """The 95 % percentile interval of draws."""
    low, high = np.quantile(means_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
