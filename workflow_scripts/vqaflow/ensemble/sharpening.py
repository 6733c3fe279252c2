"""How sure the average of several folds' adapters is, found on test rows without labels.

OOF rows have one adapter, and the calibration is learned on them. The average of several adapters is right more often
than one of them, but less sure: where adapters disagree, averaging levels out. Calibrated as on OOF, it is too unsure.

One temperature mends this. Adapter k alone is calibrated: its answer is right as often as its confidence says. So the
average must give the adapters' answers, on average, a probability equal to their confidence. (To match its confidence
in its *own* answers with theirs would leave out that these are right more often.) Its confidence in its own answers is
then higher by what averaging gains:

    mean over k and rows of q(answer of k) = mean over k and rows of p_k(answer of k)          fixes the temperature
    gain = mean over rows of q(best choice) - mean over k and rows of p_k(answer of k)

with p_k the calibrated probabilities of adapter k, and q the average after the temperature. If q were the true
probability given all adapters, both would hold exactly. docs/pooling.md says what a simulation shows of their errors.

Shapes: N rows, K adapters, C choices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqaflow.ensemble.calibration import apply_temperature, zero_of
from vqaflow.scoring.order_pooling import finite_part, log_of_choices, log_softmax


@dataclass(frozen=True)
class Sharpening:
    """The temperature of the averaged adapters, and mean confidences: of single ones, and of the average.

    `gain` is what averaging adds to the accuracy, with the standard error that comes from the number of rows.
    """

    temperature: float
    singles: float
    before: float
    after: float
    gain: float
    gain_error: float


def sharpening(singles: Sequence[np.ndarray], average_NC: np.ndarray) -> Sharpening | None:
    """Find the temperature for `average_NC`; `singles` are the adapters' probabilities (K arrays N, C), calibrated.

    None without rows or with only one adapter. The temperature is between 1 / K and K: K adapters whose errors are
    independent would add up their evidence, and no more is possible.
    """
    if len(singles) < 2 or not len(average_NC):
        return None
    answers_KN = np.stack([single_NC.argmax(1) for single_NC in singles])
    confidence_N = sum(single_NC.max(1) for single_NC in singles) / len(singles)
    logp_NC, rows_N = log_of_choices(average_NC), np.arange(len(average_NC))
    finite_NC = finite_part(logp_NC)

    def given(sharpness: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per row: the probability of the average's best choice, that of the adapters' answers (mean), its slope."""
        q_NC = np.exp(log_softmax(sharpness * logp_NC))
        mean_N = np.einsum("nc,nc->n", q_NC, finite_NC)
        of_answers = [q_NC[rows_N, answers_N] for answers_N in answers_KN]
        slopes = [q_N * (finite_NC[rows_N, a_N] - mean_N) for q_N, a_N in zip(of_answers, answers_KN, strict=True)]
        return q_NC.max(1), sum(of_answers) / len(singles), sum(slopes) / len(singles)

    def above(sharpness: float) -> tuple[float, float]:
        _, shared_N, slope_N = given(sharpness)
        return (shared_N - confidence_N).mean(), slope_N.mean()

    sharpness = zero_of(above, 1 / len(singles), len(singles))
    best_N, shared_N, _ = given(sharpness)
    return Sharpening(
        temperature=float(1 / sharpness),
        singles=float(confidence_N.mean()),
        before=float(average_NC.max(1).mean()),
        after=float(best_N.mean()),
        gain=float(best_N.mean() - shared_N.mean()),
        gain_error=_error(given, sharpness, confidence_N),
    )


def _error(given: Callable[[float], tuple[np.ndarray, ...]], sharpness: float, confidence_N: np.ndarray) -> float:
    """The gain's standard error over rows, by the delta method: the temperature is estimated from the same rows."""
    best_N, shared_N, slope_N = given(sharpness)
    step = 1e-4 * sharpness
    slope_best = (given(sharpness + step)[0] - given(sharpness - step)[0]).mean() / (2 * step)
    ratio = slope_best / slope_N.mean() - 1 if slope_N.mean() else 0.0
    influence_N = best_N - shared_N - ratio * (shared_N - confidence_N)
    return float(influence_N.std() / np.sqrt(len(influence_N)))


def sharpen(average_NC: np.ndarray, found: Sharpening | None) -> np.ndarray:
    """The averaged probabilities at the temperature that was found; no answer changes."""
    return average_NC if found is None else apply_temperature(average_NC, {"temperature": found.temperature})
