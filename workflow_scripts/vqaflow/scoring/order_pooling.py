"""From the logits of several choice orders to one log-probability per choice.

Shapes: N rows, R rows with scores, K choice orders, C = 4 choices in their original letters. Log-probabilities are
normalised over C.
"""

from functools import reduce

import numpy as np

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.score_files import Logits
from vqaflow.model.encoding.orders import inverse

CHUNK_ROWS = 1 << 16  # rows pooled at once: intermediate arrays stay small


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Normalise over the last axis, in float64; NaN rows stay NaN."""
    logits = np.asarray(logits, np.float64)
    # numpy's own reductions are several times slower over so short an axis
    shifted = logits - reduce(np.maximum, np.moveaxis(logits, -1, 0))[..., None]
    return shifted - np.log(np.einsum("...c->...", np.exp(shifted)))[..., None]


def safe_log(probabilities: np.ndarray) -> np.ndarray:
    """Logarithm in which a probability of 0 counts as the smallest normal float."""
    return np.log(probabilities.clip(np.finfo(np.float64).tiny))


# --- over the choice orders of a view ---


def position_prior(logits: Logits) -> np.ndarray | None:
    """The log-prior (4, mean 0) of the positions a to d, by least squares and without labels.

    Model of PriDe (Zheng et al., arXiv 2309.03882): log p(position, choice) = prior(position) + content(choice) + c.
    Fitting the mean over rows equals fitting all rows, since every row has the same orders. Over cyclic orders the
    estimate is PriDe's mean log-probability of each position. Returns None if the orders do not identify the prior.
    """
    places_KC = np.array([inverse(order) for order in logits.orders]).reshape(-1, len(LETTERS))
    rows = logits.logits_NKC[logits.present_N]
    if not len(rows):
        return None
    mean_KC = log_softmax(rows).mean(0)
    shape = (len(places_KC), len(LETTERS), len(LETTERS))
    position = np.eye(len(LETTERS))[places_KC]
    content = np.broadcast_to(np.eye(len(LETTERS)), shape)
    constant = np.repeat(np.eye(len(places_KC)), len(LETTERS), axis=0)
    design = np.hstack([position.reshape(-1, len(LETTERS)), content.reshape(-1, len(LETTERS)), constant])
    # two constants are free besides those of the K orders: the levels of prior and content
    if np.linalg.matrix_rank(design) < 2 * len(LETTERS) + len(places_KC) - 2:
        return None
    prior = np.linalg.lstsq(design, mean_KC.reshape(-1), rcond=None)[0][: len(LETTERS)]
    return prior - prior.mean()


def pool_orders(logits: Logits, how: str, prior: np.ndarray | None = None) -> np.ndarray:
    """Log-probabilities (N, C) of one view; `how` is geometric, arithmetic or prior (which takes `position_prior`)."""
    pooled_NC = np.full((len(logits.present_N), len(LETTERS)), np.nan)
    rows_R = np.flatnonzero(logits.present_N)
    prior_KC = np.zeros(())
    if how == "prior" and len(rows_R):
        assert prior is not None, "no position prior"
        prior_KC = np.array([prior[inverse(order)] for order in logits.orders])
    for start in range(0, len(rows_R), CHUNK_ROWS):
        rows = rows_R[start : start + CHUNK_ROWS]
        log_RKC = log_softmax(logits.logits_NKC[rows])
        if how == "arithmetic":
            pooled_NC[rows] = log_softmax(safe_log(np.einsum("rkc->rc", np.exp(log_RKC)) / len(logits.orders)))
        else:
            pooled_NC[rows] = log_softmax(np.einsum("rkc->rc", log_RKC - prior_KC) / len(logits.orders))
    return pooled_NC


ORDER_POOLINGS = ("geometric", "arithmetic", "prior")
