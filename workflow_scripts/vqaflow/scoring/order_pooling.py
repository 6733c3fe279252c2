"""From the logits of several choice orders to one log-probability per choice.

Shapes: N rows, R rows with scores, K choice orders, C choices of the table in their original letters, P positions at
which they are shown. Log-probabilities are normalised over C. They are -inf for a choice that a row lacks, and finite
otherwise.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from vqaflow.artifacts.score_files import Logits
from vqaflow.model.encoding.orders import own_order, places_of

IDENTIFIED = 1e-9  # singular values below it are rounding
CHUNK_ROWS = 1 << 16  # rows pooled at once: intermediate arrays stay small


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Normalise over the last axis, in float64; NaN rows stay NaN, and -inf stays -inf."""
    logits = np.asarray(logits, np.float64)
    # numpy's own reductions are several times slower over so short an axis
    shifted = logits - reduce(np.maximum, np.moveaxis(logits, -1, 0))[..., None]
    return shifted - np.log(np.einsum("...c->...", np.exp(shifted)))[..., None]


def safe_log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithm in which a probability of 0 counts as the smallest normal float."""
    return np.log(probabilities.clip(np.finfo(np.float64).tiny))


def log_of_choices(probabilities: np.ndarray) -> np.ndarray:
    """Logarithm that is -inf where a probability is 0: of a choice that the row lacks."""
    return np.where(probabilities == 0, -np.inf, safe_log(probabilities))


def finite_part(logp: np.ndarray) -> np.ndarray:
    """Log-probabilities with 0 in the place of -inf, for products with probabilities: 0 · log 0 counts as 0."""
    return np.where(np.isneginf(logp), 0.0, logp)


# --- over the choice orders of a view ---


def letter_sets(logp_RKC: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows by the choices that they have: for each set of them, which they are (C), and the numbers of the rows.

    Almost always, this is one set with all rows.
    """
    there_RC = ~np.isneginf(logp_RKC[:, 0])
    if there_RC.all():
        return [(there_RC[0], np.arange(len(there_RC)))] if len(there_RC) else []
    sets, set_R = np.unique(there_RC, axis=0, return_inverse=True)
    return [(there_C, np.flatnonzero(set_R == number)) for number, there_C in enumerate(sets)]


def places_in(orders: Sequence[str], letters: Sequence[str], there_C: np.ndarray) -> np.ndarray:
    """Where each order shows each choice (K, C) to rows that have the choices `there_C`; -1 for the others."""
    own = "".join(letter for letter, is_there in zip(letters, there_C, strict=True) if is_there)
    return np.array([places_of(own_order(order, own), letters) for order in orders])


def position_prior(logits: Logits) -> np.ndarray | None:
    """The log-prior (P, mean 0) of the positions a, b, …, by least squares and without labels.

    Model of PriDe (Zheng et al., arXiv 2309.03882): log p(position, choice) = prior(position) + content(choice) + c.
    Content and c are those of the rows with the same choices: fitting their mean equals fitting each of them, since
    they are shown in the same orders. Over cyclic orders the estimate is PriDe's mean log-probability of each position.
    Returns None if the orders do not identify the prior.
    """
    logp_RKC = log_softmax(logits.logits_NKC[logits.present_N])
    size = logp_RKC.shape[2]
    normal_PP, right_P, shown_P = np.zeros((size, size)), np.zeros(size), np.zeros(size, bool)
    for there_C, rows in letter_sets(logp_RKC):
        places_KC = places_in(logits.orders, logits.letters, there_C)[:, there_C]
        mean_KC = logp_RKC[rows].mean(0)[:, there_C]
        orders, choices = places_KC.shape
        position = np.eye(size)[places_KC.ravel()]
        content = np.tile(np.eye(choices), (orders, 1))
        constant = np.repeat(np.eye(orders), choices, axis=0)
        nuisance = np.hstack([content, constant])
        without = position - nuisance @ np.linalg.lstsq(nuisance, position, rcond=None)[0]
        normal_PP += len(rows) / len(logp_RKC) * without.T @ without
        right_P += len(rows) / len(logp_RKC) * without.T @ mean_KC.ravel()
        shown_P[:choices] = True
    # the level of the prior is free; a position that no row shows has none
    if not shown_P.any() or np.linalg.matrix_rank(normal_PP, tol=IDENTIFIED) < shown_P.sum() - 1:
        return None
    prior_P = np.linalg.lstsq(normal_PP, right_P, rcond=IDENTIFIED)[0]
    return np.where(shown_P, prior_P - prior_P[shown_P].mean(), 0.0)


def pool_orders(logits: Logits, how: str, prior: np.ndarray | None = None) -> np.ndarray:
    """Log-probabilities (N, C) of one view; `how` is geometric, arithmetic or prior (which takes `position_prior`)."""
    pooled_NC = np.full((len(logits.present_N), logits.logits_NKC.shape[2]), np.nan)
    rows_R = np.flatnonzero(logits.present_N)
    for start in range(0, len(rows_R), CHUNK_ROWS):
        rows = rows_R[start : start + CHUNK_ROWS]
        log_RKC = log_softmax(logits.logits_NKC[rows])
        if how == "arithmetic":
            mean_RC = safe_log(np.einsum("rkc->rc", np.exp(log_RKC)) / len(logits.orders))
            pooled_NC[rows] = log_softmax(np.where(np.isneginf(log_RKC[:, 0]), -np.inf, mean_RC))
        else:
            if how == "prior":
                log_RKC = _without_prior(log_RKC, logits, prior)
            pooled_NC[rows] = log_softmax(np.einsum("rkc->rc", log_RKC) / len(logits.orders))
    return pooled_NC


def _without_prior(log_RKC: np.ndarray, logits: Logits, prior: np.ndarray | None) -> np.ndarray:
    """The log-probabilities less the prior of the position at which each choice is shown."""
    assert prior is not None, "no position prior"
    corrected_RKC = log_RKC.copy()
    for there_C, rows in letter_sets(log_RKC):
        corrected_RKC[rows] -= prior[places_in(logits.orders, logits.letters, there_C)]  # absent ones stay -inf
    return corrected_RKC
