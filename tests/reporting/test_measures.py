"""The metrics that competitions score, against scikit-learn, and the gains of which their differences are made."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from vqaflow.reporting.measures import METRICS, confusion, gains, macro_f1, measures, value
from vqaflow.reporting.statistics import bootstrap_interval


def drawn(seed, rows=300, choices=4, letters=None):
    """Answers and probabilities that know something of them; letters are unevenly frequent."""
    rng = np.random.default_rng(seed)
    weight_C = np.arange(1, choices + 1) if letters is None else letters
    answers_N = rng.choice(choices, rows, p=np.array(weight_C) / np.sum(weight_C))
    p_NC = rng.dirichlet(np.ones(choices), rows) + 0.6 * np.eye(choices)[answers_N]
    return answers_N, p_NC / p_NC.sum(1, keepdims=True)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")  # letters that are predicted and never right
@pytest.mark.parametrize(("choices", "letters"), [(4, None), (10, None), (3, (5, 1, 0)), (2, (1, 0))])
def test_every_metric_is_scikit_learns(choices, letters):
    """A number that differs from the competition's would choose another pool than the competition does."""
    answers_N, p_NC = drawn(0, choices=choices, letters=letters)
    predicted_N = p_NC.argmax(1)
    found = {name: one["value"] for name, one in measures(p_NC, answers_N, np.arange(300), None, 0).items()}
    assert list(found) == [*METRICS, "brier", "aurc"]
    assert found["accuracy"] == pytest.approx(accuracy_score(answers_N, predicted_N), abs=1e-12)
    assert found["macro_f1"] == pytest.approx(f1_score(answers_N, predicted_N, average="macro"), abs=1e-12)
    assert found["nll"] == pytest.approx(log_loss(answers_N, p_NC, labels=range(choices)), abs=1e-12)
    assert found["brier"] == pytest.approx(((p_NC - np.eye(choices)[answers_N]) ** 2).sum(1).mean(), abs=1e-12)
    expected = balanced_accuracy_score(answers_N, predicted_N)
    assert found["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)


def test_the_intervals_are_those_of_drawn_groups():
    """Rows of one picture are not independent: intervals of single rows would be too narrow."""
    answers_N, p_NC = drawn(1, 60)
    groups_N, predicted_N = np.arange(60) // 5, p_NC.argmax(1)
    found = measures(p_NC, answers_N, groups_N, None, 7)
    right_N = predicted_N == answers_N
    assert found["accuracy"]["bootstrap"] == pytest.approx(bootstrap_interval(right_N, groups_N, 7))
    rng, values = np.random.default_rng(7), []
    for _ in range(2000):
        rows = np.concatenate([np.flatnonzero(groups_N == group) for group in rng.integers(0, 12, 12)])
        values.append(f1_score(answers_N[rows], predicted_N[rows], average="macro"))
    assert found["macro_f1"]["bootstrap"] == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert measures(p_NC, answers_N, np.zeros(60), None, 7)["macro_f1"]["bootstrap"] is None


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
@pytest.mark.parametrize("choices", [2, 4, 7])
def test_the_rows_gains_add_up_to_the_difference(metric, choices):
    """The noise test flips signs of the rows' gains: it would test something else than what is compared."""
    answers_N, first_NC = drawn(2, choices=choices)
    second_NC = drawn(3, choices=choices)[1] + 0.4 * np.eye(choices)[answers_N]
    first_N, second_N = first_NC.argmax(1), second_NC.argmax(1)
    losses_N = np.zeros(300)
    difference = value(metric, answers_N, second_N, losses_N, choices) - value(
        metric, answers_N, first_N, losses_N, choices
    )
    assert abs(difference) > 0.01
    assert gains(metric, answers_N, first_N, second_N, choices).mean() == pytest.approx(difference, abs=1e-12)
    assert gains(metric, answers_N, second_N, first_N, choices).mean() == pytest.approx(-difference, abs=1e-12)


def test_a_letter_that_only_one_system_predicts_does_not_divide_by_zero():
    """One stray answer in a rare letter must not turn a gain into NaN."""
    answers_N, first_N = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    second_N = np.array([0, 2, 1, 1])
    found = gains("macro_f1", answers_N, first_N, second_N, 3)
    assert np.isfinite(found).all()
    assert macro_f1(confusion(answers_N, first_N, 3)) == pytest.approx(f1_score(answers_N, first_N, average="macro"))
