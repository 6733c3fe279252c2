"""Calibration: probabilities may change, answers may not (temperature)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vqaflow.ensemble.calibration import CALIBRATIONS, apply_temperature, fit_temperature
from vqaflow.reporting.statistics import expected_calibration_error, negative_log_likelihood
from vqaflow.scoring.order_pooling import log_softmax

ROWS = arrays(np.float64, (20, 4), elements=st.floats(-40, 40)).map(lambda x: np.exp(log_softmax(x)))


@given(ROWS, st.floats(0.05, 20))
def test_temperature_keeps_every_best_choice(probabilities_NC, temperature):
    """Calibrating must never change the submission, not even by a rounded tie."""
    scaled = apply_temperature(probabilities_NC, {"temperature": temperature})
    assert (scaled.argmax(1) == probabilities_NC.argmax(1)).all()
    np.testing.assert_allclose(scaled.sum(1), 1, atol=1e-9)


def test_a_tie_by_rounding_keeps_the_later_letter():
    close = np.array([[0.25, 0.25 + 2e-16, 0.25, 0.25 - 2e-16]])
    assert close.argmax() == 1
    assert apply_temperature(close, {"temperature": 20.0}).argmax() == 1


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_undoes_a_wrong_sharpness(sharpness):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(5000, 4))
    true_NC = np.exp(log_softmax(logits))
    answers = (rng.random((5000, 1)) > true_NC.cumsum(1)).sum(1)
    sharpened = np.exp(log_softmax(sharpness * logits))
    params = fit_temperature(sharpened, answers)
    assert params["temperature"] == pytest.approx(sharpness, rel=0.1)
    calibrated = apply_temperature(sharpened, params)
    assert expected_calibration_error(calibrated, answers) < expected_calibration_error(sharpened, answers) / 2


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_calibration_never_raises_the_likelihood_s_cost_on_its_own_rows(name):
    rng = np.random.default_rng(1)
    answers = rng.integers(0, 4, 800)
    logits = rng.normal(size=(800, 4)) + np.array([1.0, 0, 0, -1])
    logits[np.arange(800), answers] += 1
    probabilities = np.exp(log_softmax(3 * logits))
    calibration = CALIBRATIONS[name]
    calibrated = calibration.apply(probabilities, calibration.fit(probabilities, answers))
    assert negative_log_likelihood(calibrated, answers) <= negative_log_likelihood(probabilities, answers)
    np.testing.assert_allclose(calibrated.sum(1), 1, atol=1e-12)


def test_vector_scaling_removes_a_letter_s_bias_that_a_temperature_cannot():
    rng = np.random.default_rng(2)
    answers = rng.integers(0, 4, 3000)
    logits = rng.normal(size=(3000, 4))
    logits[np.arange(3000), answers] += 2
    biased = np.exp(log_softmax(logits + np.array([3.0, 0, 0, 0])))
    accuracy = {}
    for name in ("temperature", "vector"):
        calibration = CALIBRATIONS[name]
        calibrated = calibration.apply(biased, calibration.fit(biased, answers))
        accuracy[name] = (calibrated.argmax(1) == answers).mean()
    assert accuracy["vector"] > accuracy["temperature"] + 0.05
    assert accuracy["temperature"] == (biased.argmax(1) == answers).mean()


def test_all_rows_right_gives_a_finite_temperature():
    """A perfect small OOF must not end in an endless or infinite fit."""
    probabilities = np.tile([0.7, 0.1, 0.1, 0.1], (10, 1))
    assert 0.05 <= fit_temperature(probabilities, np.zeros(10, int))["temperature"] < 0.06
