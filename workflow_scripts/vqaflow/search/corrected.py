"""What the best of many trials would reach on rows that did not choose it.

The best trial's accuracy is the highest of several on the same rows: it is partly luck. BBC-CV (Tsamardinos, Greasidou
and Borboudakis, Machine Learning 107, 2018) needs no further training: groups of rows are drawn with replacement, the
best trial of the drawn ones is chosen, and its accuracy on the groups that were not drawn is noted. The mean over draws
is the corrected accuracy. Whole groups are drawn, since their rows are not independent.

Shapes: N held-out rows, T trials, G groups, D draws.
"""

import numpy as np

from vqaflow.reporting.statistics import BOOTSTRAP_DRAWS


def corrected_accuracy(right_TN: np.ndarray, groups_N: np.ndarray, seed: int = 0) -> float | None:
    """The accuracy to expect of the best trial on new rows; `right_TN` says how right each trial's answers are.

    None with fewer than two groups.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    size_G = np.bincount(group_N)
    if len(size_G) < 2:
        return None
    sums_TG = np.array([np.bincount(group_N, weights=right_N) for right_N in right_TN])
    rng, found = np.random.default_rng(seed), []
    for _ in range(BOOTSTRAP_DRAWS):
        times_G = np.bincount(rng.integers(0, len(size_G), len(size_G)), minlength=len(size_G))
        rest_G = times_G == 0
        if rest_G.any():
            best = int((sums_TG @ times_G).argmax())
            found.append(sums_TG[best, rest_G].sum() / size_G[rest_G].sum())
    return float(np.mean(found))
