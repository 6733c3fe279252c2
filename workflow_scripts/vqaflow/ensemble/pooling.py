"""From the log-probabilities of all sources to one probability per choice.

Shapes: N rows, S sources, M members, U units (the members; with only one member, its views), C choices, F = U·C + 1
features of stacking. A source is one view of one member. Log-probabilities are normalised over C. Where a source lacks
a row, they are NaN, and the source does not count for that row. A choice that a row lacks is -inf in all its sources,
and each pool gives it the probability 0. `member_S` is the number (0 to M - 1) of each source's
member; a member's sources stand together.

A pool is validated on OOF, where each row has one adapter of each member. Test rows have the adapters of all folds: the
validated pool is applied to each fold, and the results are averaged (test_rows.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from vqaflow.config.recipe_names import LEARNING
from vqaflow.scoring.order_pooling import finite_part, log_of_choices, log_softmax

Params = Any  # what a pool learns from OOF: None, weights (S), or a dict of arrays
# Strength of the pull toward the default's weights and toward plain averaging, in rows: a few rows then change little.
WEIGHT_PRIOR_ROWS = 20.0
STACKING_PRIOR_ROWS = 20.0
CURVATURE = 0.1  # a usual p (1 - p): it scales the steps of stacking's optimiser, and moves its result by rounding only
# An optimum is reached if a step gains less than this share of the loss: a few per cent of a weight's standard error.
OPTIMISER = {"method": "L-BFGS-B", "options": {"ftol": 1e-8}}
TIE_BREAK = 1e-6  # share of the mean probability in a vote: otherwise the alphabet would break ties


def present(values_NSC: np.ndarray) -> np.ndarray:
    """Which sources have which rows (N, S)."""
    return ~np.isnan(values_NSC[:, :, 0])


def default_weights(member_S: np.ndarray) -> np.ndarray:
    """The weight (S) of each source in the default where all are present: equal members, equal views of a member."""
    count_M = np.bincount(member_S)
    return 1 / (len(count_M) * count_M[member_S])


# --- means ---


class Means:
    """Means over members of the mean over each member's views, for any choice of sources.

    `values_NSC` are probabilities, or their logarithms for the geometric mean. The means of whole members are kept, so
    that leaving out one source after another costs little.
    """

    def __init__(self, values_NSC: np.ndarray, member_S: np.ndarray) -> None:
        self.values_NSC, self.member_S = values_NSC, member_S
        self.absent_NS = ~present(values_NSC)
        self.known: dict[tuple[int, ...], np.ndarray] = {}

    def member(self, sources: tuple[int, ...]) -> np.ndarray:
        """The mean (N, C) over some sources of one member; NaN in rows that none of them has."""
        if sources not in self.known:
            self.known[sources] = self._mean([self.values_NSC[:, source] for source in sources])
        return self.known[sources]

    def over(self, sources: Sequence[int]) -> np.ndarray:
        """The mean (N, C) over the members of `sources`; NaN in rows that none of them has."""
        of_member: dict[int, list[int]] = {}
        for source in sources:
            of_member.setdefault(int(self.member_S[source]), []).append(source)
        return self._mean([self.member(tuple(chosen)) for chosen in of_member.values()])

    def probabilities(self, sources: Sequence[int], pooling: str) -> np.ndarray:
        """What the pool `pooling`, mean or log_mean, makes of `sources` (N, C)."""
        mean_NC = self.over(sources)
        return np.exp(log_softmax(mean_NC)) if POOLS[pooling].log_folds else _normalise(mean_NC)

    def _mean(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """The mean of several arrays (N, C), of which each counts where it is not NaN."""
        if len(values) == 1:
            return values[0]
        if not self.absent_NS.any():
            return sum(values[1:], values[0].copy()) / len(values)
        total_NC, count_N = np.zeros_like(values[0]), np.zeros(len(values[0]))
        for value_NC in values:
            there_N = ~np.isnan(value_NC[:, 0])
            total_NC += np.where(there_N[:, None], value_NC, 0.0)
            count_N += there_N
        return np.divide(total_NC, count_N[:, None], out=np.full_like(total_NC, np.nan), where=count_N[:, None] > 0)


def _normalise(positive_NC: np.ndarray) -> np.ndarray:
    return positive_NC / np.einsum("nc->n", positive_NC)[:, None]


def mean_pool(logp_NSC: np.ndarray, member_S: np.ndarray, _: Params = None) -> np.ndarray:
    """The mean of the members' probabilities, each the mean of its views'."""
    return Means(np.exp(logp_NSC), member_S).probabilities(range(len(member_S)), "mean")


def log_mean_pool(logp_NSC: np.ndarray, member_S: np.ndarray, _: Params = None) -> np.ndarray:
    """The geometric mean of the members' probabilities, each the geometric mean of its views', normalised."""
    return Means(logp_NSC, member_S).probabilities(range(len(member_S)), "log_mean")


# --- weights ---


def weighted_pool(logp_NSC: np.ndarray, member_S: np.ndarray, weights_S: np.ndarray) -> np.ndarray:
    """The mean of the sources' probabilities under convex weights.

    Where a view is absent, the member's other views take its weight. Where a member is absent, the other members do.
    """
    p_NSC = np.nan_to_num(np.exp(logp_NSC))
    return _normalise(np.einsum("ns,nsc->nc", _weights_in_rows(present(logp_NSC), member_S, weights_S), p_NSC))


def _weights_in_rows(there_NS: np.ndarray, member_S: np.ndarray, weights_S: np.ndarray) -> np.ndarray:
    """The weight of each source in each row (N, S), up to a factor per row."""
    weights_NS = there_NS * weights_S
    for member in range(member_S[-1] + 1):
        views = np.flatnonzero(member_S == member)
        left_N = weights_NS[:, views].sum(1)
        scale_N = np.divide(weights_S[views].sum(), left_N, out=np.zeros_like(left_N), where=left_N > 0)
        weights_NS[:, views] *= scale_N[:, None]
    return weights_NS


def fit_weights(logp_NSC: np.ndarray, member_S: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """Convex weights (S) that maximise the likelihood of the answers, with a prior that pulls toward the default's.

    The prior is a Dirichlet worth `WEIGHT_PRIOR_ROWS` rows. It keeps every weight above 0.
    """
    if len(member_S) == 1:
        return np.ones(1)
    start_S = default_weights(member_S)
    right_NS = np.exp(logp_NSC[np.arange(len(answers_N)), :, answers_N])
    there_NS = present(logp_NSC)
    whole_N = there_NS.all(1)
    whole_SN = np.ascontiguousarray(right_NS[whole_N].T)
    broken = _BrokenRows(np.nan_to_num(right_NS[~whole_N]), there_NS[~whole_N].astype(np.float64), member_S)

    def loss(scores_S: np.ndarray) -> tuple[float, np.ndarray]:
        weights_S = np.exp(log_softmax(scores_S))
        hit_N = (weights_S @ whole_SN).clip(np.finfo(np.float64).tiny)
        value, slope_S = broken.loss(weights_S)
        value += -np.log(hit_N).sum() - WEIGHT_PRIOR_ROWS * start_S @ np.log(weights_S)
        slope_S = slope_S - whole_SN @ (1 / hit_N) - WEIGHT_PRIOR_ROWS * start_S / weights_S
        return value, weights_S * (slope_S - weights_S @ slope_S)

    return np.exp(log_softmax(minimize(loss, np.log(start_S), jac=True, **OPTIMISER).x))


class _BrokenRows:
    """The part of `fit_weights`' loss for rows that lack a source, in which the others take its weight."""

    def __init__(self, right_NS: np.ndarray, there_NS: np.ndarray, member_S: np.ndarray) -> None:
        self.right_SN, self.there_SN = np.ascontiguousarray(right_NS.T), np.ascontiguousarray(there_NS.T)
        self.member_S = member_S
        first_M = np.searchsorted(member_S, np.arange(member_S[-1] + 1))
        self.views = [slice(a, b) for a, b in zip(first_M, [*first_M[1:], len(member_S)], strict=True)]
        self.has_MN = np.stack([self.there_SN[views].max(0) for views in self.views])

    def loss(self, weights_S: np.ndarray) -> tuple[float, np.ndarray]:
        """-log of the pooled probability of the answers, summed over rows, and its slope (S).

        In each row it is sum_m u_m q_m / sum_m u_m over the members that have the row, with u_m the sum of the
        member's weights, and q_m = sum_s w_s r_s / sum_s w_s over its sources that have the row.
        """
        if not self.right_SN.shape[1]:
            return 0.0, np.zeros_like(weights_S)
        tiny = np.finfo(np.float64).tiny
        sum_M = np.array([weights_S[views].sum() for views in self.views])
        mass_MN = np.stack([weights_S[views] @ self.there_SN[views] for views in self.views])
        mass_MN[self.has_MN == 0] = 1.0  # anything but 0: what is divided by it is 0
        mean_MN = np.stack([weights_S[views] @ self.right_SN[views] for views in self.views]) / mass_MN
        hit_N, share_N = (sum_M @ (mean_MN * self.has_MN)).clip(tiny), sum_M @ self.has_MN
        by_member_M = (self.has_MN * (mean_MN / hit_N - 1 / share_N)).sum(1)
        scale_MN = sum_M[:, None] / mass_MN / hit_N
        slope_S = np.concatenate(
            [
                by_member + self.right_SN[views] @ scale_N - self.there_SN[views] @ (scale_N * mean_N)
                for views, by_member, scale_N, mean_N in zip(self.views, by_member_M, scale_MN, mean_MN, strict=True)
            ]
        )
        return float(-np.log(hit_N / share_N).sum()), -slope_S


# --- stacking ---


def fit_stacking(logp_NSC: np.ndarray, member_S: np.ndarray, answers_N: np.ndarray) -> dict[str, np.ndarray]:
    """Multinomial logistic regression on the units' log-probabilities: matrix (U*C, C) and bias (C).

    A unit is a member (the geometric mean of its views) or, of the only member, a view. The ridge penalty pulls toward
    `log_mean_pool` instead of 0: a few rows then change little.
    """
    features_NF, absent_NC = _features(logp_NSC, member_S), absent_choices(logp_NSC)
    choices = logp_NSC.shape[2]
    units = (features_NF.shape[1] - 1) // choices
    target_NC = np.eye(choices)[answers_N]
    start_FC = np.vstack([np.tile(np.eye(choices) / units, (units, 1)), np.zeros(choices)])
    curvature_FF = CURVATURE * features_NF.T @ features_NF + STACKING_PRIOR_ROWS * np.eye(features_NF.shape[1])
    step_FF = np.linalg.inv(np.linalg.cholesky(curvature_FF)).T  # makes the loss nearly round

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        pull_FC = step_FF @ flat.reshape(start_FC.shape)
        logp_NC = log_softmax(np.where(absent_NC, -np.inf, features_NF @ (start_FC + pull_FC)))
        value = -logp_NC[target_NC > 0].sum() + STACKING_PRIOR_ROWS / 2 * (pull_FC**2).sum()
        slope_FC = features_NF.T @ (np.exp(logp_NC) - target_NC) + STACKING_PRIOR_ROWS * pull_FC
        return value, (step_FF.T @ slope_FC).ravel()

    fitted = minimize(loss, np.zeros(start_FC.size), jac=True, **OPTIMISER).x
    weights_FC = start_FC + step_FF @ fitted.reshape(start_FC.shape)
    return {"matrix": weights_FC[:-1], "bias": weights_FC[-1]}


def absent_choices(logp_NSC: np.ndarray) -> np.ndarray:
    """Which choices each row lacks (N, C)."""
    return np.isneginf(logp_NSC).any(1)


def stacking_pool(logp_NSC: np.ndarray, member_S: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """Apply `fit_stacking`."""
    logits_NC = _features(logp_NSC, member_S) @ np.vstack([params["matrix"], params["bias"]])
    return np.exp(log_softmax(np.where(absent_choices(logp_NSC), -np.inf, logits_NC)))


def _features(logp_NSC: np.ndarray, member_S: np.ndarray) -> np.ndarray:
    """The units' log-probabilities minus their mean over the row's choices, and a 1 (N, F).

    An absent unit gets the row's mean unit, and a choice that the row lacks 0, the mean.
    """
    means = Means(logp_NSC, member_S)
    members = [tuple(np.flatnonzero(member_S == member)) for member in range(member_S[-1] + 1)]
    units = members if len(members) > 1 else [(source,) for source in members[0]]
    rows, choices = len(logp_NSC), logp_NSC.shape[2]
    features_NF = np.ones((rows, len(units) * choices + 1), order="F")
    by_unit = [features_NF[:, i * choices : (i + 1) * choices] for i in range(len(units))]
    for columns_NC, sources in zip(by_unit, units, strict=True):
        unit_NC = means.member(sources)
        lacks_NC = np.isneginf(unit_NC)
        centre_N = np.einsum("nc->n", finite_part(unit_NC)) / (choices - lacks_NC.sum(1))
        columns_NC[:] = np.where(lacks_NC, 0.0, unit_NC - centre_N[:, None])
    if any(np.isnan(columns_NC[:, 0]).any() for columns_NC in by_unit):
        mean_NC = np.nanmean(np.stack(by_unit), axis=0)
        for columns_NC in by_unit:
            np.copyto(columns_NC, mean_NC, where=np.isnan(columns_NC))
    return features_NF


# --- votes ---


def fit_votes(logp_NSC: np.ndarray, member_S: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """Each source's accuracy on the rows it has (S): the weight of its vote."""
    right_NS = (logp_NSC.argmax(2) == answers_N[:, None]) & present(logp_NSC)
    return right_NS.sum(0) / np.maximum(present(logp_NSC).sum(0), 1)


def vote_pool(logp_NSC: np.ndarray, member_S: np.ndarray, weights_S: np.ndarray) -> np.ndarray:
    """Hard vote: each source gives its weight to its best choice, and a member's sources share one vote.

    Ties go to the higher mean probability.
    """
    there_NS = present(logp_NSC)
    share_NS = _weights_in_rows(there_NS, member_S, default_weights(member_S)) * weights_S
    best_NS = np.nan_to_num(logp_NSC, nan=-np.inf).argmax(2)
    votes_NC = np.zeros((len(logp_NSC), logp_NSC.shape[2]))
    for source in range(len(weights_S)):
        votes_NC[np.arange(len(votes_NC)), best_NS[:, source]] += share_NS[:, source]
    total_N1 = votes_NC.sum(1, keepdims=True)
    shares_NC = np.divide(votes_NC, total_N1, out=np.zeros_like(votes_NC), where=total_N1 > 0)
    return _normalise(shares_NC + TIE_BREAK * mean_pool(logp_NSC, member_S))


# --- all ---


def _nothing(_: np.ndarray, __: np.ndarray, ___: np.ndarray) -> None:
    return None


@dataclass(frozen=True)
class Pool:
    """How sources are pooled: what is learned on OOF (if anything), and how it is applied.

    `fit` takes (logp_NSC, member_S, answers_N); `apply` takes (logp_NSC, member_S, params) and returns probabilities.
    A pool with `log_folds` averages folds geometrically, too.
    """

    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Params]
    apply: Callable[[np.ndarray, np.ndarray, Params], np.ndarray]
    log_folds: bool = False


POOLS = {
    "mean": Pool(_nothing, mean_pool),
    "log_mean": Pool(_nothing, log_mean_pool, log_folds=True),
    "weighted": Pool(fit_weights, weighted_pool),
    "stacking": Pool(fit_stacking, stacking_pool),
    "vote": Pool(fit_votes, vote_pool),
}


def learns(pooling: str) -> bool:
    """Whether the pool learns from OOF answers."""
    return pooling in LEARNING


def average(folds: Sequence[np.ndarray], pooling: str) -> np.ndarray:
    """The mean of several results (N, C) of one pool, geometric if the pool works in logs."""
    assert folds, "no fold"
    if POOLS[pooling].log_folds:
        return np.exp(log_softmax(sum(map(log_of_choices, folds)) / len(folds)))
    return _normalise(sum(folds) / len(folds))
