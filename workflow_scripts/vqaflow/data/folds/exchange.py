"""Make folds more even: move single groups or swap two groups, as long as that helps.

Shapes: G groups, K kinds of groups, F features of a group, n folds.
"""

from collections import defaultdict
from itertools import permutations

import numpy as np

SWAPPED_KINDS = 256  # kinds of groups that are tried for swaps: the smallest ones


def even_out(features_GF: np.ndarray, fold_G: np.ndarray, n: int) -> np.ndarray:
    """The folds of G groups after the exchange, from 0 to `n` - 1; the folds' sums of features come close together.

    Features are not negative, and not all 0 for any group. Equal arguments give equal folds.
    """
    exchange = Exchange(features_GF, fold_G, n)
    while any([exchange.step(a, b) for a, b in permutations(range(n), 2)]):
        pass
    return exchange.folds()


class Exchange:
    """Groups with equal features are one kind (K kinds): which of them is moved makes no difference.

    The cost is the sum of squares of ``excess_nF``: how much more of each feature a fold has than an n-th of the total.
    When features x move from fold a to b (x: what leaves minus what comes back), the cost changes by
    2 x · (excess_b - excess_a) + 2 x · x. So a fold of several groups gives one to an empty fold: no fold stays empty.
    """

    def __init__(self, features_GF: np.ndarray, fold_G: np.ndarray, n: int) -> None:
        kinds_KF, kind_G = np.unique(features_GF, axis=0, return_inverse=True)
        norm_K = (kinds_KF**2).sum(1)
        order = np.argsort(norm_K, kind="stable")
        self.kinds_KF, self.norm_K = kinds_KF[order], norm_K[order]
        self.products = self.kinds_KF[:SWAPPED_KINDS] @ self.kinds_KF[:SWAPPED_KINDS].T
        self.members: dict[tuple[int, int], list[int]] = defaultdict(list)  # the groups of a (fold, kind)
        self.count_nK = np.zeros((n, len(order)), dtype=np.int64)
        for group, place in enumerate(zip(fold_G.tolist(), np.argsort(order)[kind_G.ravel()].tolist(), strict=True)):
            self.members[place].append(group)
            self.count_nK[place] += 1
        self.excess_nF = self.count_nK @ self.kinds_KF - features_GF.sum(0) / n

    def step(self, a: int, b: int) -> bool:
        """Move a group from fold `a` to `b`, or swap one of each, whichever helps most; False if nothing does."""
        pull_K = 2 * self.kinds_KF @ (self.excess_nF[b] - self.excess_nF[a])
        out_K = np.where(self.count_nK[a] > 0, 2 * self.norm_K + pull_K, np.inf)
        back_K = np.where(self.count_nK[b] > 0, 2 * self.norm_K - pull_K, np.inf)
        swap = out_K[:SWAPPED_KINDS, None] + back_K[None, :SWAPPED_KINDS] - 4 * self.products
        out, back = divmod(int(swap.argmin()), swap.shape[1])
        moved = int(out_K.argmin())
        if min(out_K[moved], swap[out, back]) > -1e-6:
            return False
        if out_K[moved] <= swap[out, back]:
            self.move(moved, a, b)
        else:
            self.move(out, a, b)
            self.move(back, b, a)
        return True

    def move(self, kind: int, a: int, b: int) -> None:
        """Take a group of the kind from fold `a` to `b`."""
        self.members[b, kind].append(self.members[a, kind].pop())
        for fold, sign in ((a, -1), (b, 1)):
            self.count_nK[fold, kind] += sign
            self.excess_nF[fold] += sign * self.kinds_KF[kind]

    def folds(self) -> np.ndarray:
        """The fold of each group."""
        fold_G = np.empty(int(self.count_nK.sum()), dtype=np.int64)
        for (fold, _), groups in self.members.items():
            fold_G[groups] = fold
        return fold_G
