"""From logits to one probability per choice: pooling over the choice orders of a view, over views, and over folds.

Shapes: N rows, V views, K choice orders, C = 4 choices in their original letters, F = V·C + 1 features of stacking.
Log-probabilities are normalised over C. Where a view does not have a row, they are NaN, and the view does not count for
that row.

A pool of views is validated on OOF, where each row has the views of one fold's adapter. A test row has the views of all
folds: the validated pool is applied to each fold, and the folds' results are averaged.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from vqaflow.artifacts.columns import LETTERS
from vqaflow.scoring.order_pooling import log_softmax, safe_log

Params = Any  # what a pool learns from OOF: None, weights (V), or a dict of arrays
# Strength of the pull toward equal weights and toward plain averaging, in rows: a few rows then change little.
WEIGHT_PRIOR_ROWS = 20.0
STACKING_PRIOR_ROWS = 20.0
TIE_BREAK = 1e-6  # share of the mean probability in a vote: otherwise the alphabet would break ties


# --- over views: fit(logp_NVC, answers_N) -> params, apply(logp_NVC, params) -> probabilities (N, C) ---


def _normalise(positive_NC: np.ndarray) -> np.ndarray:
    return positive_NC / positive_NC.sum(1, keepdims=True)


def mean_pool(logp_NVC: np.ndarray, _: Params = None) -> np.ndarray:
    """The mean of the views' probabilities."""
    return _normalise(np.nanmean(np.exp(logp_NVC), axis=1))


def log_mean_pool(logp_NVC: np.ndarray, _: Params = None) -> np.ndarray:
    """The geometric mean of the views' probabilities, normalised."""
    return np.exp(log_softmax(np.nanmean(logp_NVC, axis=1)))


def weighted_pool(logp_NVC: np.ndarray, weights_V: np.ndarray) -> np.ndarray:
    """The mean of the views' probabilities under convex weights, rescaled where a view is absent."""
    weights_NV = ~np.isnan(logp_NVC[:, :, 0]) * weights_V
    return _normalise(np.einsum("nv,nvc->nc", weights_NV, np.nan_to_num(np.exp(logp_NVC))))


def fit_weights(logp_NVC: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """Convex weights (V) that maximise the likelihood of the answers, with a prior that pulls toward equal weights.

    The prior is a symmetric Dirichlet worth `WEIGHT_PRIOR_ROWS` rows. It keeps every weight above 0.
    """
    views = logp_NVC.shape[1]
    right_NV = np.nan_to_num(np.exp(logp_NVC[np.arange(len(answers_N)), :, answers_N]))
    there_NV = (~np.isnan(logp_NVC[:, :, 0])).astype(np.float64)

    def loss(scores_V: np.ndarray) -> tuple[float, np.ndarray]:
        weights_V = np.exp(log_softmax(scores_V))
        hit_N = (right_NV @ weights_V).clip(np.finfo(np.float64).tiny)
        mass_N = there_NV @ weights_V
        value = -np.log(hit_N / mass_N).sum() - WEIGHT_PRIOR_ROWS * np.log(weights_V).mean()
        slope_V = -(right_NV / hit_N[:, None] - there_NV / mass_N[:, None]).sum(0)
        slope_V -= WEIGHT_PRIOR_ROWS / views / weights_V
        return value, weights_V * (slope_V - weights_V @ slope_V)

    if views == 1:
        return np.ones(1)
    return np.exp(log_softmax(minimize(loss, np.zeros(views), jac=True, method="L-BFGS-B").x))


def fit_stacking(logp_NVC: np.ndarray, answers_N: np.ndarray) -> dict[str, np.ndarray]:
    """Multinomial logistic regression on the views' log-probabilities: matrix (V*C, C) and bias (C).

    Its ridge penalty pulls toward `log_mean_pool` instead of 0: a few rows then change little.
    """
    features_NF = _features(logp_NVC)
    views, choices = logp_NVC.shape[1], logp_NVC.shape[2]
    target_NC = np.eye(choices)[answers_N]
    start = np.vstack([np.tile(np.eye(choices) / views, (views, 1)), np.zeros(choices)])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape)
        logp_NC = log_softmax(features_NF @ weights)
        pull = weights - start
        value = -logp_NC[target_NC > 0].sum() + STACKING_PRIOR_ROWS / 2 * (pull**2).sum()
        slope = features_NF.T @ (np.exp(logp_NC) - target_NC) + STACKING_PRIOR_ROWS * pull
        return value, slope.ravel()

    fitted = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(start.shape)
    return {"matrix": fitted[:-1], "bias": fitted[-1]}


def stacking_pool(logp_NVC: np.ndarray, params: dict[str, np.ndarray]) -> np.ndarray:
    """Apply `fit_stacking`."""
    return np.exp(log_softmax(_features(logp_NVC) @ np.vstack([params["matrix"], params["bias"]])))


def _features(logp_NVC: np.ndarray) -> np.ndarray:
    """Log-probabilities minus their mean over C, and a 1 (N, V*C + 1); an absent view gets the row's mean view."""
    centred = logp_NVC - logp_NVC.mean(2, keepdims=True)
    centred = np.where(np.isnan(centred), np.nanmean(centred, axis=1, keepdims=True), centred)
    return np.hstack([centred.reshape(len(centred), -1), np.ones((len(centred), 1))])


def fit_votes(logp_NVC: np.ndarray, answers_N: np.ndarray) -> np.ndarray:
    """The weights of votes (V): each view's accuracy on the rows it has."""
    right_NV = np.where(np.isnan(logp_NVC[:, :, 0]), np.nan, logp_NVC.argmax(2) == answers_N[:, None])
    count_V = (~np.isnan(right_NV)).sum(0)
    return np.where(count_V > 0, np.nansum(right_NV, axis=0) / np.maximum(count_V, 1), 0.0)


def vote_pool(logp_NVC: np.ndarray, weights_V: np.ndarray) -> np.ndarray:
    """Hard vote: each view gives its weight to its best choice; ties go to the higher mean probability."""
    there_NV = ~np.isnan(logp_NVC[:, :, 0])
    best_NV = np.nan_to_num(logp_NVC, nan=-np.inf).argmax(2)
    votes_NC = np.zeros((len(logp_NVC), len(LETTERS)))
    for view, weight in enumerate(weights_V):
        votes_NC[np.arange(len(votes_NC)), best_NV[:, view]] += weight * there_NV[:, view]
    total_N1 = votes_NC.sum(1, keepdims=True)
    shares_NC = np.divide(votes_NC, total_N1, out=np.zeros_like(votes_NC), where=total_N1 > 0)
    return _normalise(shares_NC + TIE_BREAK * mean_pool(logp_NVC))


def _nothing(_: np.ndarray, __: np.ndarray) -> None:
    return None


@dataclass(frozen=True)
class Pool:
    """How views are pooled: what is learned on OOF (if anything), how it is applied, whether folds average in logs."""

    fit: Callable[[np.ndarray, np.ndarray], Params]
    apply: Callable[[np.ndarray, Params], np.ndarray]
    learns: bool = False
    log_folds: bool = False


POOLS = {  # simplest first: among equally good ones, the first is kept
    "mean": Pool(_nothing, mean_pool),
    "log_mean": Pool(_nothing, log_mean_pool, log_folds=True),
    "weighted": Pool(fit_weights, weighted_pool, learns=True),
    "stacking": Pool(fit_stacking, stacking_pool, learns=True),
    "vote": Pool(fit_votes, vote_pool, learns=True),
}


def pool_folds(folds: Iterable[np.ndarray], pool: Pool) -> np.ndarray:
    """The mean of the folds' probabilities (N, C), geometric if the pool works in logs; `folds` may be a stream."""
    total, count = 0.0, 0
    for probabilities_NC in folds:
        total = total + (safe_log(probabilities_NC) if pool.log_folds else probabilities_NC)
        count += 1
    assert count, "no fold"
    return np.exp(log_softmax(total / count)) if pool.log_folds else _normalise(total / count)
