"""What is believed of the candidates' scores: from their OOF answers, and then from public scores.

The true accuracies θ of the K candidates are taken as jointly normal. Mean and covariance come from the OOF answers:
with u_g = (right answers in group g) - (rows of g)·accuracy, θ has the covariance G/(G - 1)·Σ_g u_g u_gᵀ / N² (a ratio
estimate over whole groups: Cochran 1977, section 6.4). So candidates that err on the same rows move together.

On test rows, where several adapters are averaged, candidates may answer more alike than on OOF rows. If a candidate and
the best one differ in the share D/n of the test answers and in the larger share E of OOF answers, then the difference
of their accuracies is (D/n)/E times that on OOF rows: what is kept is how often each is right where they differ.

A score on m test rows is normal around θ. For the difference of two candidates its variance is q·D/n / m, with D their
differing test answers and q the share of these where one is right (see noise.py); q is that of all OOF pairs together.
What all candidates share has the best one's variance.

Public scores y of some candidates (H picks them) are combined with that by Bayes' rule for normals with known
covariance (A. Gelman et al., Bayesian Data Analysis, 3rd ed. 2013, section 3.5): with R the covariance of one row, S =
H(Σ + R/m)Hᵀ and the gain W = ΣHᵀS⁻¹, the mean becomes μ + W(y - Hμ) and the covariance Σ - WHΣ. For the difference of
two candidates alone this is the mean of both differences, each weighted by one over its variance. Test rows may be
easier or harder than training rows for all candidates alike. Σ therefore has one common shift, of standard deviation
`LEVEL`: a single public score moves this level and hardly any difference.

The expected maximum of two normal scores is exact (C. E. Clark, Operations Research 9, 1961, equation 2); for more it
is the mean over seeded draws.

Shapes: K candidates, S of them, F submission files, N rows, G groups, R draws.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

LEVEL = 0.05  # how far the accuracy on test rows may differ from OOF accuracy, for all candidates alike
DRAWS, SEED = 20_000, 0  # for the maximum of more than two scores


@dataclass(frozen=True)
class Beliefs:
    """True accuracies: mean (K,) and covariance (K, K); `rows_KK` is the covariance of one test row's 1 or 0."""

    mean_K: np.ndarray
    truth_KK: np.ndarray
    rows_KK: np.ndarray

    def of_scores(self, rows: int) -> np.ndarray:
        """The covariance (K, K) of the scores on this many new rows."""
        return self.truth_KK + self.rows_KK / rows

    def chance(self, first: int, second: int) -> float:
        """The probability that the true accuracy of `first` is above that of `second`."""
        spread = math.sqrt(_variance_of_difference(self.truth_KK, first, second))
        gap = self.mean_K[first] - self.mean_K[second]
        return float(norm.cdf(gap / spread)) if spread else 0.5 + 0.5 * float(np.sign(gap))


def from_oof(right_KN: np.ndarray, groups_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the accuracies as OOF rows show them.

    The rows of a single group count as independent, since nothing shows how groups differ.
    """
    _, group_N = np.unique(groups_N, return_inverse=True)
    if group_N.max(initial=0) == 0:
        group_N = np.arange(len(groups_N))
    sizes_G = np.bincount(group_N)
    mean_K = right_KN.mean(1)
    over_KG = sums_by_group(right_KN, group_N, len(sizes_G)) - mean_K[:, None] * sizes_G
    rows, groups = len(group_N), len(sizes_G)
    return mean_K, over_KG @ over_KG.T / rows**2 * (groups / max(groups - 1, 1))


def sums_by_group(right_KN: np.ndarray, group_N: np.ndarray, groups: int) -> np.ndarray:
    """Each candidate's right answers in each group (K, G)."""
    return np.stack([np.bincount(group_N, weights=right_N, minlength=groups) for right_N in right_KN])


def on_test(mean_K: np.ndarray, truth_KK: np.ndarray, best: int, alike_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance on test rows: differences from the candidate `best`, times `alike_K` (from 0 to 1)."""
    lift_KK = np.diag(alike_K)
    lift_KK[:, best] += 1 - alike_K
    return lift_KK @ mean_K, lift_KK @ truth_KK @ lift_KK.T


def with_files(
    mean_K: np.ndarray, truth_KK: np.ndarray, anchors: Sequence[int], shared_FF: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add files of which only the test answers are known, behind the K candidates.

    `anchors` names for each file the candidate that answers most like it. `shared_FF` counts, for two files, the common
    part of their differences from these; on its diagonal is D, in how many of the `rows` test answers a file differs
    from its anchor. Nothing says which of the two is better: each difference from -D/n to D/n is taken as equally
    likely, so its variance is (D/n)²/3.
    """
    count = len(mean_K)
    lift = np.eye(count)[[*range(count), *anchors]]
    differing_F = np.diag(shared_FF).clip(1e-9)
    correlation_FF = shared_FF / np.sqrt(np.outer(differing_F, differing_F))
    spread_F = differing_F / rows / math.sqrt(3)
    truth = lift @ truth_KK @ lift.T
    truth[count:, count:] += correlation_FF * np.outer(spread_F, spread_F)
    return lift @ mean_K, truth


def of_one_row(differing_KK: np.ndarray, rows: int, decisive: float, best: int, variance: float) -> np.ndarray:
    """The covariance (K, K) of one test row's 1 or 0, from how many of the `rows` answers differ.

    Differences from the candidate `best` have the variance decisive·D/n and the covariances that the answers
    themselves have: with D the squared distance of one-hot answers, halved, this is a matrix of inner products.
    """
    from_best_K = differing_KK[best]
    return variance + decisive * (from_best_K[:, None] + from_best_K - differing_KK) / 2 / rows


def updated(beliefs: Beliefs, public: Mapping[int, float], rows: int, step: float = 0.0) -> Beliefs:
    """The beliefs after the `public` scores (by candidate) on this many `rows`, rounded to multiples of `step`.

    A rounded score lies anywhere within a step of the true one: the variance of a uniform value, step²/12, adds to it.
    """
    if not public:
        return beliefs
    seen = list(public)
    prior_KK = beliefs.truth_KK + LEVEL**2
    score_KS = prior_KK[:, seen]
    # At least a tiny independent part: two files that never differ must not make the matrix singular.
    rounding = max(step**2 / 12, 1e-12)
    scores_SS = (prior_KK + beliefs.rows_KK / rows)[np.ix_(seen, seen)] + rounding * np.eye(len(seen))
    gain_KS = np.linalg.solve(scores_SS, score_KS.T).T
    off_S = np.array([public[place] for place in seen]) - beliefs.mean_K[seen]
    truth_KK = prior_KK - gain_KS @ score_KS.T
    return replace(beliefs, mean_K=beliefs.mean_K + gain_KS @ off_S, truth_KK=(truth_KK + truth_KK.T) / 2)


def expected_maximum(beliefs: Beliefs, chosen: Sequence[int], rows: int) -> float:
    """The expected score on `rows` new rows of the best of the `chosen` candidates."""
    mean_S = beliefs.mean_K[list(chosen)]
    if len(mean_S) == 1:
        return float(mean_S[0])
    scores_KK = beliefs.of_scores(rows)
    if len(mean_S) == 2:
        spread = math.sqrt(_variance_of_difference(scores_KK, *chosen))
        if spread == 0:
            return float(mean_S.max())
        lead = float(mean_S[0] - mean_S[1]) / spread
        ahead = float(mean_S[0] * norm.cdf(lead) + mean_S[1] * norm.cdf(-lead))
        return ahead + spread * float(norm.pdf(lead))
    rng = np.random.default_rng(SEED)
    scores_SS = scores_KK[np.ix_(chosen, chosen)]
    draws_RS = rng.multivariate_normal(mean_S, scores_SS, DRAWS, check_valid="ignore", method="eigh")
    return float(draws_RS.max(1).mean())


def _variance_of_difference(covariance_KK: np.ndarray, first: int, second: int) -> float:
    both = covariance_KK[first, first] + covariance_KK[second, second] - 2 * covariance_KK[first, second]
    return max(float(both), 0.0)
