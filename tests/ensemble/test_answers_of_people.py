"""Calibration and the choice of a pool where several people answered, and by other metrics than accuracy."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from people import drawn_answers, with_answers
from results_world import ensemble, make_results
from vqaflow.config.recipe_names import every_recipe
from vqaflow.ensemble.calibration import CALIBRATIONS, fit_temperature
from vqaflow.ensemble.recipes import CrossFit, choose
from vqaflow.ensemble.sources import Oof, Source
from vqaflow.reporting.statistics import calibration_summary, log_losses
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.order_pooling import log_softmax


def drawn_shares(rows, people=5, seed=0):
    """Shares of people who each know the right answer with 0.6, and probabilities that know something of it."""
    rng = np.random.default_rng(seed)
    answers_N = rng.integers(0, 4, rows)
    belief_NC = 0.1 + 0.6 * np.eye(4)[answers_N]
    shares_NC = np.array([rng.multinomial(people, p_C) for p_C in belief_NC]) / people
    return shares_NC, np.exp(log_softmax(4.0 * np.eye(4)[answers_N] + rng.normal(size=(rows, 4))))


def test_the_temperature_has_the_least_cross_entropy_to_the_shares():
    """Fitted to the most frequent answers alone, it would be far surer than people are."""
    shares_NC, p_NC = drawn_shares(400)

    def loss(log_temperature):
        q_NC = np.exp(log_softmax(np.log(p_NC) / np.exp(log_temperature)))
        return np.mean([-sum(s * np.log(q) for s, q in zip(*pair) if s) for pair in zip(shares_NC, q_NC)])  # noqa: B905

    naive = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    found = fit_temperature(p_NC, shares_NC)["temperature"]
    assert found == pytest.approx(naive, rel=1e-5)
    assert found > 1.5 * fit_temperature(p_NC, shares_NC.argmax(1))["temperature"]


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_one_answer_as_shares_calibrates_bit_for_bit_as_one_answer(name):
    """A table that gets a second answerer for one row must not move the numbers of all others by rounding."""
    _, p_NC = drawn_shares(200)
    answers_N = np.random.default_rng(1).integers(0, 4, 200)
    calibration = CALIBRATIONS[name]
    assert calibration.fit(p_NC, answers_N) == calibration.fit(p_NC, np.eye(4)[answers_N])
    plain, shares = calibration_summary(p_NC, answers_N), calibration_summary(p_NC, np.eye(4)[answers_N])
    assert json.dumps(plain) == json.dumps(shares)


def test_a_vector_calibration_learns_the_shares():
    shares_NC, p_NC = drawn_shares(2000)
    fitted = CALIBRATIONS["vector"]
    soft_NC = fitted.apply(p_NC, fitted.fit(p_NC, shares_NC))
    hard_NC = fitted.apply(p_NC, fitted.fit(p_NC, shares_NC.argmax(1)))
    assert log_losses(soft_NC, shares_NC).mean() < log_losses(hard_NC, shares_NC).mean() - 0.01


def oof_of(logits_NSC, answers_N, shares_NC=None):
    sources = tuple(Source(f"m{i}", "original") for i in range(logits_NSC.shape[1]))
    return Oof(sources, log_softmax(logits_NSC), answers_N, np.arange(len(answers_N)), shares_NC)


def test_the_loss_of_a_candidate_is_its_cross_entropy_to_the_shares():
    """A pool whose probabilities are people's would otherwise lose to one that is sure of every third vote."""
    shares_NC, p_NC = drawn_shares(300)
    rng = np.random.default_rng(3)
    logits_NSC = np.stack([np.log(p_NC), rng.normal(size=(300, 4))], axis=1)
    oof = oof_of(logits_NSC, shares_NC.argmax(1), shares_NC)
    recipes = every_recipe("mean", {"m0": ("original",), "m1": ("original",)})
    cross = CrossFit(oof, 0)
    first = cross.scored(recipes, None, np.arange(300))[recipes[0]]
    pooled_NC = cross.probabilities(recipes[0], None)
    temperature = fit_temperature(pooled_NC, shares_NC)["temperature"]
    q_NC = np.exp(log_softmax(np.log(pooled_NC) / temperature))
    np.testing.assert_allclose(first.loss_N, -(shares_NC * np.log(q_NC)).sum(1), atol=1e-9)
    assert first.loss == "cross_entropy"
    choice = choose(recipes, cross)
    assert choice.recipe.only == "m0" and "nats" not in choice.reason
    plain = CrossFit(replace(oof, shares_NC=None), 0).scored(recipes, None, np.arange(300))[recipes[0]]
    assert plain.loss == "brier" and not np.allclose(plain.loss_N, first.loss_N)


def of_a_rare_letter(seed=0, rows=600):
    """One member knows the frequent letter a, the other the rare ones: as accurate, but far better balanced."""
    rng = np.random.default_rng(seed)
    answers_N = rng.choice(4, rows, p=[0.7, 0.1, 0.1, 0.1])
    noise_NSC = 0.5 * rng.normal(size=(rows, 2, 4))
    always_a, knows = np.array([3.0, 0, 0, 0]), np.eye(4)[answers_N] * 3.0
    wrong_N = (answers_N == 0) & (rng.random(rows) < 0.45)  # it mistakes frequent letters for rare ones
    knows[wrong_N] = 3.0 * np.eye(4)[rng.integers(1, 4, wrong_N.sum())]
    return oof_of(noise_NSC + np.stack([np.tile(always_a, (rows, 1)), knows], axis=1), answers_N)


@pytest.mark.parametrize(("metric", "words"), [("balanced_accuracy", "balanced accuracy"), ("macro_f1", "macro-F1")])
def test_the_pool_is_chosen_by_the_metric_of_the_competition(metric, words):
    """Scored by balanced accuracy, a member that always says `a` must not keep its half of the pool."""
    oof = of_a_rare_letter()
    recipes = every_recipe("mean", {"m0": ("original",), "m1": ("original",)})
    choice = choose(recipes, CrossFit(oof, 0, metric))
    scored = choice.scored
    assert scored[recipes[0]].metric == metric
    best = max(scored, key=lambda recipe: scored[recipe].value)
    assert choice.recipe.name == "only m1" == best.name and words in choice.reason
    assert choice.p_values[choice.recipe].min() < 0.05
    assert choose(recipes, CrossFit(oof, 0)).recipe.name != "only m1", "the case shows nothing if accuracy agrees"


def test_a_pool_may_be_chosen_by_its_cross_entropy():
    """Scored by log loss, the pool that is right most often need not win."""
    rng = np.random.default_rng(5)
    answers_N = rng.integers(0, 4, 600)
    logits_NSC = np.stack([3.0 * np.eye(4)[answers_N], np.zeros((600, 4))], axis=1) + rng.normal(size=(600, 2, 4))
    recipes = every_recipe("mean", {"m0": ("original",), "m1": ("original",)})
    oof = oof_of(logits_NSC, answers_N)
    choice, by_accuracy = choose(recipes, CrossFit(oof, 0, "nll")), choose(recipes, CrossFit(oof, 0))
    assert choice.recipe.name == "only m0" != by_accuracy.recipe.name
    assert "nats over the default" in choice.reason and "points over the default" in by_accuracy.reason


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1", "nll"])
def test_what_is_tested_for_noise_is_the_difference_in_the_metric(metric):
    """Else a pool would be chosen by one number and tested by another."""
    oof = of_a_rare_letter()
    recipes = every_recipe("mean", {"m0": ("original",), "m1": ("original",)})
    first, second = list(CrossFit(oof, 0, metric).scored(recipes, None, np.arange(600)).values())[-2:]
    assert second.gain_over(first)[0].mean() == pytest.approx(second.value - first.value, abs=1e-12)
    assert abs(second.value - first.value) > 1e-3


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "nll"])
def test_chance_alone_changes_no_pool_by_any_metric(metric):
    """Members of equal quality: a metric whose noise was taken for gain would drop one of them in most runs."""
    recipes, changed = every_recipe("mean", {"m0": ("original",), "m1": ("original",)}), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        answers_N = rng.choice(4, 150, p=[0.4, 0.3, 0.2, 0.1])
        logits_NSC = 1.5 * np.eye(4)[answers_N][:, None] + rng.normal(size=(150, 2, 4))
        changed += choose(recipes, CrossFit(oof_of(logits_NSC, answers_N), seed, metric)).recipe != recipes[0]
    assert changed <= 3


def test_a_run_of_several_people_and_another_metric(tmp_path):
    """The whole rule: recipe.json says by which metric and loss the pool was chosen."""
    folder = make_results(tmp_path / "results", train_rows=120)
    train = pd.read_parquet(folder / "tables" / "train.parquet")
    given = drawn_answers(train["answer"], 5, 0.6, seed=1)
    with_answers(train, given).to_parquet(folder / "tables" / "train.parquet", index=False)
    recipe = ensemble(folder, metric="macro_f1")
    assert recipe["metric"] == "macro_f1"
    first, second = recipe["candidates"][:2]
    assert {"macro_f1", "cross_entropy"} <= first.keys() and "brier" not in first
    assert {"p_macro_f1", "p_cross_entropy"} <= second["against_default"].keys()
    assert 0 < recipe["nested"]["macro_f1"] < 1
    shares_NC = with_answers(train, given)[[f"share_{letter}" for letter in "abcd"]].to_numpy()
    oof_NC = pd.read_parquet(folder / "ensemble" / "oof.parquet")[["p_a", "p_b", "p_c", "p_d"]].to_numpy()
    assert recipe["calibration"]["after"]["nll"] == pytest.approx(log_losses(oof_NC, shares_NC).mean())


def test_an_unknown_metric_is_named(tmp_path):
    folder = make_results(tmp_path / "results", train_rows=24)
    with pytest.raises(UserError, match=r"ensemble\.metric: 'balanced_acuracy'.*balanced_accuracy"):
        ensemble(folder, metric="balanced_acuracy")
