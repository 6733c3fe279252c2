"""Several systems that answer the same rows: their accuracies and paired differences, with intervals.

Shapes: N rows, K systems, R bootstrap draws.
"""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from vqaflow.evaluation.picks.intervals import bootstrap_means, interval_of
from vqaflow.reporting.sign_flips import SignFlips, blocks_of
from vqaflow.reporting.statistics import accuracy_summary


class Systems:
    """Systems by name; `right` says for each which rows it answers right.

    All intervals come from the same draws of groups, so that many systems cost little more than one.
    """

    def __init__(self, right: Mapping[Hashable, np.ndarray], groups_N: np.ndarray) -> None:
        self.right = right
        means_KR = bootstrap_means(np.array(list(right.values())), groups_N)
        self.flips = SignFlips(blocks_of(groups_N, 0), 0)
        self.means = None if means_KR is None else dict(zip(right, means_KR, strict=True))

    def accuracy(self, name: Hashable) -> dict[str, Any]:
        """What `accuracy_summary` says of a system."""
        interval = None if self.means is None else interval_of(self.means[name])
        return accuracy_summary(self.right[name]) | {"bootstrap": interval}

    def gain(self, first: Hashable, second: Hashable) -> dict[str, Any]:
        """What `paired_summary` says of the second system against the first."""
        first_N, second_N = self.right[first], self.right[second]
        only_first, only_second = int((first_N & ~second_N).sum()), int((second_N & ~first_N).sum())
        return {
            "n": len(first_N),
            "gain": (only_second - only_first) / len(first_N),
            "bootstrap": None if self.means is None else interval_of(self.means[second] - self.means[first]),
            "only_first_right": only_first,
            "only_second_right": only_second,
            "p_value": float(self.flips.two_sided([second_N.astype(np.float64) - first_N])[0]),
        }
