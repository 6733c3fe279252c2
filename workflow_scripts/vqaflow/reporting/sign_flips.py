"""Is a difference of two systems on the same rows more than noise? A test that keeps the rows of a group together.

Rows of one group (an image, a question) are not independent: a test of single rows, such as McNemar's, then finds
differences where there are none. If two systems are equally good, each group's difference is as likely with the other
sign (R. A. Fisher, The Design of Experiments, 1935, section 21; for groups: Canay, Romano and Shaikh, Econometrica 85,
2017). So signs are drawn at random for whole groups, the same for all comparisons, and the largest difference of any
comparison is noted (the maximum test of Westfall and Young, Resampling-Based Multiple Testing, 1993). A p-value is the
share of draws whose largest difference is not below it, the observed signs being one of the draws (Phipson and Smyth,
2010). It is thus corrected for all comparisons, and comparisons that are nearly alike count as nearly one.

Shapes: N rows, B blocks of groups, D draws, K comparisons, W = 2·K ways to compare.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DRAWS = 4000
MOST_BLOCKS = 2000  # with more groups, several at random form a block: the same test, much faster
ROUNDING = 1e-9
WAYS_AT_ONCE = 512  # of which the draws are in memory together


def blocks_of(groups_N: np.ndarray, seed: int) -> np.ndarray:
    """The number of each row's group, or, if there are more than `MOST_BLOCKS`, of the block that its group is in."""
    unique, group_N = np.unique(groups_N, return_inverse=True)
    if len(unique) <= MOST_BLOCKS:
        return group_N
    return (np.random.default_rng(seed).permutation(len(unique)) % MOST_BLOCKS)[group_N]


def joined_groups(first_N: np.ndarray, second_N: np.ndarray) -> np.ndarray:
    """Groups that keep together the rows that either grouping keeps together (N), numbered from 0."""
    (_, a_N), (_, b_N) = (np.unique(groups_N, return_inverse=True) for groups_N in (first_N, second_N))
    if not len(a_N):
        return a_N
    groups, both = int(a_N.max()) + 1, int(a_N.max() + b_N.max()) + 2
    links = coo_array((np.ones(len(a_N)), (a_N, groups + b_N)), shape=(both, both))
    return connected_components(links, directed=False)[1][a_N]


class SignFlips:
    """The maximum test on some rows: `blocks_N` says which rows stay together."""

    def __init__(self, blocks_N: np.ndarray, seed: int) -> None:
        _, self.block_N = np.unique(blocks_N, return_inverse=True)
        self.blocks = int(self.block_N.max(initial=-1)) + 1
        bits = np.random.default_rng(seed).integers(0, 2, (DRAWS, self.blocks), dtype=np.int8)
        self.signs_DB = (2 * bits - 1).astype(np.float64)

    def p_values(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """For each of K gains (2, N), the p-value (K, 2) of either way; one-sided, corrected for all of them."""
        if not found or not self.blocks:
            return np.ones((len(found), 2))
        sums_WB = np.array(
            [np.bincount(self.block_N, weights=way_N, minlength=self.blocks) for gain in found for way_N in gain]
        )
        scale_W = np.sqrt((sums_WB**2).sum(1))
        observed_W = np.divide(sums_WB.sum(1), scale_W, out=np.zeros_like(scale_W), where=scale_W > 0)
        largest_D = np.full(DRAWS, -np.inf)
        for start in range(0, len(sums_WB), WAYS_AT_ONCE):
            part = slice(start, start + WAYS_AT_ONCE)
            drawn_DW = self.signs_DB @ sums_WB[part].T
            np.divide(drawn_DW, scale_W[part], out=drawn_DW, where=scale_W[part] > 0)
            np.maximum(largest_D, drawn_DW.max(1), out=largest_D)
        above_W = DRAWS - np.searchsorted(np.sort(largest_D), observed_W - ROUNDING)
        return ((above_W + 1) / (DRAWS + 1)).reshape(len(found), 2)

    def two_sided(self, differences: Sequence[np.ndarray]) -> np.ndarray:
        """For each of K differences (N), the two-sided p-value (K), corrected for all of them."""
        return self.p_values([np.stack([values_N, -values_N]) for values_N in differences]).min(1)


def sign_flip_p_values(differences: Sequence[np.ndarray], groups_N: np.ndarray, seed: int = 0) -> list[float]:
    """The two-sided p-values of K differences (N) of two systems on the same rows, corrected for all K."""
    if not differences:
        return []
    return SignFlips(blocks_of(groups_N, seed), seed).two_sided(differences).tolist()
