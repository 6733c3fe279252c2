"""Which gains over a default are more than noise, when several candidates are tried on the same rows.

A candidate is compared with the default in two ways: by a metric (right answers, unless ensemble.metric says another),
and by a loss. The loss is the Brier score (the log-likelihood is unbounded: with few rows, a candidate that is seldom
but far off looks better than it is), or, where several people answered, the cross-entropy to their shares, which is
what the calibration minimises. Rows of one group are not independent, so whole groups are compared. If a candidate
equals the default, each group's difference is as likely with the other sign: reporting/sign_flips.py tests it, with a
correction for all candidates and both ways.

Shapes: N rows, K candidates, B blocks of groups, D draws.
"""

from dataclasses import dataclass

import numpy as np

from vqaflow.reporting import sign_flips
from vqaflow.reporting.measures import gains, value
from vqaflow.reporting.statistics import BOOTSTRAP_DRAWS, CONFIDENCE, Interval


@dataclass(frozen=True)
class Predicted:
    """What a metric other than accuracy needs of some rows: answers and predicted letters, and the log losses."""

    metric: str
    answers_N: np.ndarray
    letters_N: np.ndarray
    log_loss_N: np.ndarray
    choices: int


@dataclass(frozen=True)
class Scored:
    """How a system does on some rows: whether each answer is right, and its loss (less is better).

    `loss` says which: brier (0 to 2), or cross_entropy. `predicted` is None if the metric is accuracy.
    """

    right_N: np.ndarray
    loss_N: np.ndarray
    loss: str = "brier"
    predicted: Predicted | None = None

    @property
    def metric(self) -> str:
        """The metric's name."""
        return "accuracy" if self.predicted is None else self.predicted.metric

    @property
    def value(self) -> float:
        """The metric; higher is better: nll is negative."""
        if self.predicted is None or not len(self.right_N):
            return float(self.right_N.mean()) if len(self.right_N) else 0.0
        about = self.predicted
        return value(about.metric, about.answers_N, about.letters_N, about.log_loss_N, about.choices)

    def gain_over(self, other: "Scored") -> np.ndarray:
        """Row by row, the gain over `other` in the metric and in the loss (2, N)."""
        mine, others = self.predicted, other.predicted
        if mine is None or others is None:
            gain_N = self.right_N.astype(np.float64) - other.right_N
        elif mine.metric == "nll":
            gain_N = others.log_loss_N - mine.log_loss_N
        else:
            gain_N = gains(mine.metric, mine.answers_N, others.letters_N, mine.letters_N, mine.choices)
        return np.stack([gain_N, other.loss_N - self.loss_N])

    def hits_over(self, other: "Scored") -> np.ndarray:
        """The same for right answers, whatever the metric is."""
        return np.stack([self.right_N.astype(np.float64) - other.right_N, other.loss_N - self.loss_N])


class SignFlips(sign_flips.SignFlips):
    """The maximum test of candidates."""

    def beats(self, second: Scored, first: Scored) -> bool:
        """Whether `second` is not worse than `first` in the metric, and better beyond noise in one way or the other."""
        gain = second.gain_over(first)
        return bool(gain[0].sum() >= 0 and self.p_values([gain]).min() <= 1 - CONFIDENCE)


def paired_summaries(found: list[np.ndarray], blocks_N: np.ndarray, seed: int) -> list[dict[str, object]]:
    """For each of `Scored.hits_over` a default (2, N), what `reporting.statistics.paired_summary` says of it.

    The bootstraps of all candidates share their draws of blocks: this is much faster than one after the other, and
    gives what `paired_summary` gives where the blocks are the groups.
    """
    _, block_N = np.unique(blocks_N, return_inverse=True)
    size_B = np.bincount(block_N)
    rng = np.random.default_rng(seed)
    means_DK = np.empty((BOOTSTRAP_DRAWS, len(found)))
    sums_BK = np.array([np.bincount(block_N, weights=gain[0]) for gain in found]).reshape(len(found), -1).T
    for draw in range(BOOTSTRAP_DRAWS if found else 0):
        count_B = np.bincount(rng.integers(0, len(size_B), len(size_B)), minlength=len(size_B)).astype(np.float64)
        means_DK[draw] = count_B @ sums_BK / (count_B @ size_B)
    flips = sign_flips.SignFlips(sign_flips.blocks_of(block_N, seed), seed)
    summaries = []
    for number, (hits_N, _) in enumerate(found):
        low, high = np.quantile(means_DK[:, number], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        interval: Interval | None = (float(low), float(high)) if len(size_B) > 1 else None
        only_first, only_second = int((hits_N < 0).sum()), int((hits_N > 0).sum())
        summaries.append(
            {
                "n": len(hits_N),
                "gain": float(hits_N.mean()),
                "bootstrap": interval,
                "only_first_right": only_first,
                "only_second_right": only_second,
                "p_value": float(flips.two_sided([hits_N])[0]),
            }
        )
    return summaries
