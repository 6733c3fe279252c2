"""Calibration of pooled probabilities: one temperature, or a scale and a bias per letter, fitted on OOF answers.

Both act on log-probabilities. `answers` are letters (N), or the people's shares (N, C): then the cross-entropy to the
shares is what is minimised. A temperature keeps every row's best choice (Guo et al., arXiv 1706.04599). A choice that a
row lacks has the probability 0, and keeps it.

Shapes: N rows, C choices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from vqaflow.reporting.statistics import as_shares, share_given
from vqaflow.scoring.order_pooling import finite_part, log_of_choices, log_softmax

TEMPERATURES = (0.05, 20.0)
SHARPNESSES = (1 / TEMPERATURES[1], 1 / TEMPERATURES[0])  # 1 / T
LOWEST = float(np.log(np.finfo(np.float64).tiny))
MOST_STEPS, RELATIVE_ERROR = 100, 1e-9  # of the search for a temperature
VECTOR_PRIOR_ROWS = 20.0  # strength of the pull toward one temperature without bias, in rows


def fit_temperature(probabilities_NC: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """The temperature within `TEMPERATURES` that maximises the likelihood of the answers; 1 without rows."""
    logp_NC = logs_with_answers(probabilities_NC, answers)
    return {"temperature": best_temperature(logp_NC, share_given(answers, logp_NC))}


def logs_with_answers(probabilities_NC: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C), finite for what people answered even if its probability is 0."""
    logp_NC = log_of_choices(probabilities_NC)
    return np.where(as_shares(answers, logp_NC.shape[1]) > 0, np.maximum(logp_NC, LOWEST), logp_NC)


def best_temperature(logp_NC: np.ndarray, right_N: np.ndarray) -> float:
    """The temperature of the highest likelihood; `right_N` is the (mean) log-probability of each row's answer."""
    if not len(logp_NC):
        return 1.0

    finite_NC = finite_part(logp_NC)

    def slope(sharpness: float) -> tuple[float, float]:
        """The loss' first and second derivative: it is convex in 1 / T."""
        p_NC = np.exp(log_softmax(sharpness * logp_NC))
        mean_N = np.einsum("nc,nc->n", p_NC, finite_NC)
        return (mean_N - right_N).mean(), (np.einsum("nc,nc->n", p_NC, finite_NC**2) - mean_N**2).mean()

    return 1 / zero_of(slope, *SHARPNESSES)


def temperature_of_confidence(logp_NC: np.ndarray, confidence: float) -> float:
    """The temperature at which the mean probability of each row's best choice is `confidence`."""
    if not len(logp_NC):
        return 1.0
    best_N, finite_NC = logp_NC.max(1), finite_part(logp_NC)

    def above(sharpness: float) -> tuple[float, float]:
        p_NC = np.exp(log_softmax(sharpness * logp_NC))
        top_N = p_NC.max(1)
        return top_N.mean() - confidence, (top_N * (best_N - np.einsum("nc,nc->n", p_NC, finite_NC))).mean()

    return 1 / zero_of(above, *SHARPNESSES)


def zero_of(function: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Where an increasing `function`, which gives its value and slope, is 0; `low` or `high` if it is 0 beyond them.

    By Newton's method, which starts at 1. Where a step would leave the interval that is known to hold the zero, the
    interval is halved instead.
    """
    place = 1.0
    for _ in range(MOST_STEPS):
        value, slope = function(place)
        low, high = (place, high) if value < 0 else (low, place)
        step = place - value / slope if slope > 0 else np.inf
        step = step if low < step < high else (low + high) / 2
        if abs(step - place) <= RELATIVE_ERROR * place:
            break
        place = step
    return float(place)


def apply_temperature(probabilities_NC: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """p ** (1 / T), normalised; every row keeps its best choice."""
    scaled_NC = np.exp(log_softmax(log_of_choices(probabilities_NC) / params["temperature"]))
    rows_N, best_N = np.arange(len(scaled_NC)), probabilities_NC.argmax(1)
    # rounding can make the two best choices equal, and then the alphabet would decide
    tied_N = scaled_NC.argmax(1) != best_N
    scaled_NC[rows_N[tied_N], best_N[tied_N]] = np.nextafter(scaled_NC[tied_N].max(1), 1.0)
    return scaled_NC


def fit_vector(probabilities_NC: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """A scale and a bias for each letter, by penalised maximum likelihood, starting from the best temperature.

    A letter's are learned from the rows that have the choice.
    """
    logp_NC = logs_with_answers(probabilities_NC, answers)
    lacks_NC, finite_NC = np.isneginf(logp_NC), finite_part(logp_NC)
    choices = logp_NC.shape[1]
    target_NC = as_shares(answers, choices)
    scale = 1 / fit_temperature(probabilities_NC, answers)["temperature"]
    start = np.concatenate([np.full(choices, scale), np.zeros(choices)])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        fitted_NC = log_softmax(np.where(lacks_NC, -np.inf, finite_NC * flat[:choices] + flat[choices:]))
        pull = flat - start
        error_NC = np.exp(fitted_NC) - target_NC
        value = -share_given(answers, fitted_NC).sum() + VECTOR_PRIOR_ROWS / 2 * (pull**2).sum()
        slope = np.concatenate([(error_NC * finite_NC).sum(0), error_NC.sum(0)]) + VECTOR_PRIOR_ROWS * pull
        return value, slope

    fitted = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return {"scale": fitted[:choices].tolist(), "bias": fitted[choices:].tolist()}


def apply_vector(probabilities_NC: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Log-probabilities times each letter's scale, plus its bias, normalised over the row's choices."""
    logp_NC = log_of_choices(probabilities_NC)
    moved_NC = finite_part(logp_NC) * np.array(params["scale"]) + np.array(params["bias"])
    return np.exp(log_softmax(np.where(np.isneginf(logp_NC), -np.inf, moved_NC)))


@dataclass(frozen=True)
class Calibration:
    """How probabilities are corrected: fit(probabilities, answers) -> params, and apply(probabilities, params)."""

    fit: Callable[[np.ndarray, np.ndarray], dict[str, Any]]
    apply: Callable[[np.ndarray, dict[str, Any]], np.ndarray]


CALIBRATIONS = {
    "temperature": Calibration(fit_temperature, apply_temperature),
    "vector": Calibration(fit_vector, apply_vector),
    "none": Calibration(lambda _, __: {}, lambda probabilities_NC, _: probabilities_NC),
}
