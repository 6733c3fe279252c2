"""Calibration of pooled probabilities: one temperature, or a scale and a bias per letter, fitted on OOF answers.

Both act on log-probabilities. A temperature keeps every row's best choice (Guo et al., arXiv 1706.04599).

Shapes: N rows, C choices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from vqaflow.scoring.order_pooling import log_softmax, safe_log

TEMPERATURES = (0.05, 20.0)
VECTOR_PRIOR_ROWS = 20.0  # strength of the pull toward one temperature without bias, in rows


def fit_temperature(probabilities_NC: np.ndarray, answers_N: np.ndarray) -> dict[str, Any]:
    """The temperature within `TEMPERATURES` that maximises the likelihood of the answers."""
    logp_NC, rows_N = safe_log(probabilities_NC), np.arange(len(answers_N))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logp_NC / np.exp(log_temperature))[rows_N, answers_N].mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-6})
    return {"temperature": float(np.exp(found.x))}


def apply_temperature(probabilities_NC: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """p ** (1 / T), normalised; every row keeps its best choice."""
    scaled_NC = np.exp(log_softmax(safe_log(probabilities_NC) / params["temperature"]))
    rows_N, best_N = np.arange(len(scaled_NC)), probabilities_NC.argmax(1)
    # rounding can make the two best choices equal, and then the alphabet would decide
    tied_N = scaled_NC.argmax(1) != best_N
    scaled_NC[rows_N[tied_N], best_N[tied_N]] = np.nextafter(scaled_NC[tied_N].max(1), 1.0)
    return scaled_NC


def fit_vector(probabilities_NC: np.ndarray, answers_N: np.ndarray) -> dict[str, Any]:
    """A scale and a bias for each letter, by penalised maximum likelihood, starting from the best temperature."""
    logp_NC = safe_log(probabilities_NC)
    choices = logp_NC.shape[1]
    target_NC = np.eye(choices)[answers_N]
    scale = 1 / fit_temperature(probabilities_NC, answers_N)["temperature"]
    start = np.concatenate([np.full(choices, scale), np.zeros(choices)])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        fitted_NC = log_softmax(logp_NC * flat[:choices] + flat[choices:])
        pull = flat - start
        error_NC = np.exp(fitted_NC) - target_NC
        value = -fitted_NC[target_NC > 0].sum() + VECTOR_PRIOR_ROWS / 2 * (pull**2).sum()
        slope = np.concatenate([(error_NC * logp_NC).sum(0), error_NC.sum(0)]) + VECTOR_PRIOR_ROWS * pull
        return value, slope

    fitted = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return {"scale": fitted[:choices].tolist(), "bias": fitted[choices:].tolist()}


def apply_vector(probabilities_NC: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """Log-probabilities times each letter's scale, plus its bias, normalised."""
    return np.exp(log_softmax(safe_log(probabilities_NC) * np.array(params["scale"]) + np.array(params["bias"])))


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
