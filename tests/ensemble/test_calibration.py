"""Calibration: probabilities may change, answers may not (temperature)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vqaflow.ensemble.calibration import (
    CALIBRATIONS,
    LOWEST,
    VECTOR_PRIOR_ROWS,
    apply_temperature,
    fit_temperature,
    fit_vector,
    logs_with_answers,
    temperature_of_confidence,
)
from vqaflow.reporting.statistics import expected_calibration_error, negative_log_likelihood
from vqaflow.scoring.order_pooling import log_softmax

ROWS = arrays(np.float64, (20, 4), elements=st.floats(-40, 40)).map(lambda x: np.exp(log_softmax(x)))


@given(ROWS, st.floats(0.05, 20))
def test_temperature_keeps_every_best_choice(probabilities_NC, temperature):
    """Calibrating must never change the submission, not even by a rounded tie."""
    scaled = apply_temperature(probabilities_NC, {"temperature": temperature})
    assert (scaled.argmax(1) == probabilities_NC.argmax(1)).all()
    np.testing.assert_allclose(scaled.sum(1), 1, atol=1e-9)


def test_only_what_people_answered_gets_a_finite_logarithm():
    """Else one row whose answer had no probability would decide the temperature of all, or none could be found."""
    logp_NC = logs_with_answers(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([1, 1]))
    assert logp_NC.tolist() == [[0.0, LOWEST, -math.inf], [-math.inf, 0.0, -math.inf]]


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


def made_up(rows, seed, choices=4):
    """Log-probabilities that know the answer a little, with a bias for the first letter."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, choices, rows)
    logits = rng.normal(size=(rows, choices)) + np.eye(choices)[0]
    logits[np.arange(rows), answers] += 1
    return log_softmax(logits), answers


@pytest.mark.parametrize("choices", [2, 4, 7])
@pytest.mark.parametrize("seed", range(4))
def test_the_temperature_is_the_one_that_a_plain_search_finds(seed, choices):
    logp, answers = made_up(60, seed, choices)

    def cost(temperature):
        total = 0.0
        for line, answer in zip(logp, answers, strict=True):
            powers = [math.exp(x / temperature) for x in line]
            total -= math.log(powers[answer] / sum(powers))
        return total

    found = fit_temperature(np.exp(logp), answers)["temperature"]
    grid = np.exp(np.linspace(np.log(found) - 0.3, np.log(found) + 0.3, 121))
    assert min(map(cost, grid)) == pytest.approx(cost(found), abs=1e-9)
    assert found == pytest.approx(min(grid, key=cost), rel=0.003)


def test_answers_that_are_always_wrong_make_it_unsure():
    """The temperature ends at its limit, not in an endless search."""
    probabilities = np.tile([0.7, 0.1, 0.1, 0.1], (10, 1))
    assert fit_temperature(probabilities, np.ones(10, int))["temperature"] == pytest.approx(20, rel=1e-6)


def test_without_rows_or_knowledge_nothing_is_changed_but_by_rounding():
    assert fit_temperature(np.empty((0, 4)), np.empty(0, int)) == {"temperature": 1.0}
    equal = np.full((5, 4), 0.25)
    params = fit_temperature(equal, np.arange(5) % 4)
    np.testing.assert_allclose(apply_temperature(equal, params), equal, atol=1e-12)


@pytest.mark.parametrize("confidence", [0.4, 0.6, 0.9])
def test_a_temperature_gives_the_mean_confidence_that_is_asked_for(confidence):
    logp, _ = made_up(80, 2)
    temperature = temperature_of_confidence(logp, confidence)
    assert np.exp(log_softmax(logp / temperature)).max(1).mean() == pytest.approx(confidence, abs=1e-8)


def test_a_confidence_that_no_temperature_gives_ends_at_the_limit():
    logp, _ = made_up(80, 2)
    assert temperature_of_confidence(logp, 1.0) == pytest.approx(0.05, rel=1e-6)
    assert temperature_of_confidence(logp, 0.0) == pytest.approx(20, rel=1e-6)
    assert temperature_of_confidence(logp[:0], 0.5) == 1.0


def test_few_rows_give_a_vector_near_one_temperature():
    """Five rows that all have the answer a would else forbid every other letter."""
    logp, answers = made_up(5, 0)
    fitted = fit_vector(np.exp(logp), np.zeros(5, int))
    assert np.abs(fitted["bias"]).max() < 0.3
    scale = 1 / fit_temperature(np.exp(logp), np.zeros(5, int))["temperature"]
    assert np.abs(np.array(fitted["scale"]) - scale).max() < 0.5


def test_the_vector_is_the_best_one():
    """With its prior of full strength: no small step does better."""
    logp, answers = made_up(200, 1)
    fitted = fit_vector(np.exp(logp), answers)
    start = 1 / fit_temperature(np.exp(logp), answers)["temperature"]

    def cost(scale, bias):
        right = log_softmax(logp * scale + bias)[np.arange(200), answers]
        return -right.sum() + VECTOR_PRIOR_ROWS / 2 * (((scale - start) ** 2).sum() + (bias**2).sum())

    scale, bias = np.array(fitted["scale"]), np.array(fitted["bias"])
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = 0.03 * rng.normal(size=(2, 4))
        assert cost(scale, bias) < cost(scale + step[0], bias + step[1])
