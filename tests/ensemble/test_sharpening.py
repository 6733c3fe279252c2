"""Test probabilities that mean what they say, though several adapters answer a test row and one an OOF row."""

import numpy as np
import pytest

from vqaflow.ensemble.calibration import apply_temperature, best_temperature
from vqaflow.ensemble.sharpening import sharpen, sharpening
from vqaflow.reporting.statistics import negative_log_likelihood
from vqaflow.scoring.order_pooling import log_softmax


def adapters(rows, count, own, rng, strength=3.0):
    """Answers and adapters' probabilities: what adapters share of the answer and of the noise, and each one's own."""
    answers_N = rng.integers(0, 4, rows)
    shared_NC = strength * np.eye(4)[answers_N] + rng.normal(size=(rows, 4))
    return answers_N, [np.exp(log_softmax(shared_NC + own * rng.normal(size=(rows, 4)))) for _ in range(count)]


def calibrated(count, own, seed, rows=6000):
    """Calibrated single adapters and their average, the temperature being learned on rows with one adapter each."""
    rng = np.random.default_rng(seed)
    oof_N, (oof_NC,) = adapters(rows, 1, own, rng)
    logp_NC = np.log(oof_NC)
    learned = {"temperature": best_temperature(logp_NC, logp_NC[np.arange(rows), oof_N])}
    answers_N, raw = adapters(rows, count, own, rng)
    return answers_N, [apply_temperature(p, learned) for p in raw], apply_temperature(sum(raw) / count, learned)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
@pytest.mark.parametrize("own", [0.3, 0.7])
def test_confidence_and_gain_come_near_the_truth(count, own):
    """Without labels: what averaging adds to the accuracy, and how sure the average may be."""
    answers_N, singles, average_NC = calibrated(count, own, seed=count)
    found = sharpening(singles, average_NC)
    accuracy = (average_NC.argmax(1) == answers_N).mean()
    gain = accuracy - np.mean([(single.argmax(1) == answers_N).mean() for single in singles])
    assert found.gain == pytest.approx(gain, abs=0.006)
    assert found.after == pytest.approx(accuracy, abs=0.012)
    sharp_NC = sharpen(average_NC, found)
    logp_NC = np.log(average_NC)
    best = best_temperature(logp_NC, logp_NC[np.arange(len(answers_N)), answers_N])
    lowest = negative_log_likelihood(apply_temperature(average_NC, {"temperature": best}), answers_N)
    before, after = (negative_log_likelihood(p, answers_N) for p in (average_NC, sharp_NC))
    assert after - lowest < 0.1 * (before - lowest) + 0.002
    assert found.before == pytest.approx(average_NC.max(1).mean()) and found.after == pytest.approx(
        sharp_NC.max(1).mean(), abs=1e-9
    )


def test_no_answer_changes_and_no_order_of_choices():
    _, singles, average_NC = calibrated(3, 0.7, seed=0, rows=500)
    sharp_NC = sharpen(average_NC, sharpening(singles, average_NC))
    np.testing.assert_array_equal(sharp_NC.argsort(1), average_NC.argsort(1))
    np.testing.assert_allclose(sharp_NC.sum(1), 1, atol=1e-12)


def test_equal_adapters_gain_nothing_and_stay_as_they_are():
    _, (single_NC, *_), _ = calibrated(2, 0.7, seed=0, rows=500)
    found = sharpening([single_NC] * 3, single_NC)
    assert found.temperature == pytest.approx(1, abs=1e-6) and found.gain == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("rows", [0, 5])
def test_one_adapter_is_not_sharpened(rows):
    """Untuned members and files alone have one part; nothing was averaged."""
    p_NC = np.full((rows, 4), 0.25)
    assert sharpening([p_NC], p_NC) is None and sharpen(p_NC, None) is p_NC
    assert rows or sharpening([p_NC, p_NC], p_NC) is None


def test_adapters_that_contradict_each_other_cannot_make_the_average_certain():
    """Sure adapters that never agree are wrong about themselves; no temperature can mend that, so it has a limit."""
    first, second = np.tile([0.97, 0.01, 0.01, 0.01], (50, 1)), np.tile([0.01, 0.97, 0.01, 0.01], (50, 1))
    found = sharpening([first, second], (first + second) / 2)
    assert 1 / 2 <= found.temperature <= 2


def test_the_gains_error_is_that_between_samples():
    found = [sharpening(*calibrated(3, 0.7, seed, rows=600)[1:]) for seed in range(60)]
    spread = np.std([one.gain for one in found])
    told = np.mean([one.gain_error for one in found])
    assert 0.7 * spread < told < 1.3 * spread
