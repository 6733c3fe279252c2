"""The members of a run beside each other: how good each is, what the pool owes to it, and on which rows they differ.

The overlap of two members' errors is the number of OOF rows that both answer wrongly, divided by the number of rows
that at least one of them answers wrongly (the Jaccard index): 1 if they fail on the same rows, 0 if they never do.
Their disagreement is the share of rows that they answer differently.

Shapes: N rows of the training table, T test rows, S sources (views of all members), C choices.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.config.members import TUNED, UNTUNED
from vqaflow.config.recipe_names import Recipe
from vqaflow.ensemble.calibration import apply_temperature, fit_temperature
from vqaflow.ensemble.recipe_file import fitted_of
from vqaflow.ensemble.recipes import CrossFit, kept_sources
from vqaflow.ensemble.sources import Oof
from vqaflow.evaluation.evidence import Answers
from vqaflow.evaluation.systems import Systems
from vqaflow.reporting.statistics import negative_log_likelihood, widest

NOTED = ("kind", "views", "seeds", "refit", "note")  # what metrics.json repeats from member.json
SEED = 0  # of the parts of rows, for pools that learn
ENSEMBLE, POOL = ("ensemble",), ("pool",)  # systems beside ("member", NAME) and ("without", NAME)


def member_metrics(
    rows: pd.DataFrame, answers: Mapping[str, Answers], oof: Oof, recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """The section `members` of metrics.json; `rows` and `answers` are those of `Evidence`, `recipe` is recipe.json."""
    predicted = {name: given.oof_NC.argmax(1) for name, given in answers.items()}
    on_test = {name: given.test_TC.argmax(1) for name, given in answers.items()}
    answers_N = rows["answer_index"].to_numpy()
    wrong = {name: predicted_N != answers_N for name, predicted_N in predicted.items()}
    right = {ENSEMBLE: rows["right"].to_numpy()} | {("member", name): ~wrong_N for name, wrong_N in wrong.items()}
    right |= {name: best_N == answers_N for name, best_N in pools_without(oof, fitted_of(recipe).recipe).items()}
    systems = Systems(right, rows["group"].to_numpy())
    in_pool = {entry["name"]: entry for entry in recipe["members"]}
    return {
        "each": {
            name: {key: given.note[key] for key in NOTED}
            | {"weight": in_pool[name]["weight"], "weight_of_views": in_pool[name]["views"]}
            | systems.accuracy(("member", name))
            | own_likelihood(given.oof_NC, rows, oof.answers)
            | differences(name, answers, systems)
            for name, given in answers.items()
        },
        "names": list(answers),
        "error_overlap": pairwise(wrong, overlap),
        "disagreement": {"oof": pairwise(predicted, disagreement), "test": pairwise(on_test, disagreement)},
    }


def differences(name: str, answers: Mapping[str, Answers], systems: Systems) -> dict[str, Any]:
    """A member against the ensemble; a tuned one against each untuned one; and the pool against itself without it."""
    is_tuned = answers[name].note["kind"] == TUNED
    untuned = [other for other, given in answers.items() if is_tuned and given.note["kind"] == UNTUNED]
    without = ("without", name)
    return {
        "ensemble_against_it": systems.gain(("member", name), ENSEMBLE),
        "against_untuned": {base: systems.gain(("member", base), ("member", name)) for base in untuned},
        "pool_loses_without_it": systems.gain(without, POOL) if without in systems.right else None,
    }


def own_likelihood(oof_NC: np.ndarray, rows: pd.DataFrame, answers: np.ndarray) -> dict[str, float]:
    """A member's negative log-likelihood (nats per row), raw and after its own temperature.

    The temperature of each fold's rows is fitted on the other folds; `temperature` is fitted on all rows.
    """
    fold_N = rows["fold"].to_numpy()
    calibrated_NC = oof_NC.copy()
    for fold in np.unique(fold_N):
        fitted = fit_temperature(oof_NC[fold_N != fold], answers[fold_N != fold])
        calibrated_NC[fold_N == fold] = apply_temperature(oof_NC[fold_N == fold], fitted)
    return {
        "nll": negative_log_likelihood(oof_NC, answers),
        "nll_after_temperature": negative_log_likelihood(calibrated_NC, answers),
        "temperature": fit_temperature(oof_NC, answers)["temperature"],
    }


def pairwise(by_name: Mapping[str, np.ndarray], measure: Any) -> list[list[float | None]]:
    """The matrix of `measure` for each pair of members."""
    return [[measure(first_N, second_N) for second_N in by_name.values()] for first_N in by_name.values()]


def overlap(wrong_N: np.ndarray, other_N: np.ndarray) -> float | None:
    """Of the rows that at least one answers wrongly, the share that both do; None without such rows."""
    either = int((wrong_N | other_N).sum())
    return int((wrong_N & other_N).sum()) / either if either else None


def disagreement(answers_N: np.ndarray, other_N: np.ndarray) -> float | None:
    """The share of rows that are answered differently; None without rows."""
    return float((answers_N != other_N).mean()) if len(answers_N) else None


def member_lines(members: Mapping[str, Any]) -> Iterator[str]:
    """What the log says of each member; nothing if there is only one."""
    if len(members["names"]) == 1:
        return
    for name, facts in members["each"].items():
        low, high = widest(facts)
        line = f"{name} ({facts['kind']}): {100 * facts['accuracy']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
        line += f", NLL {facts['nll']:.3f}, weight {facts['weight']:.2f}"
        if without := facts["pool_loses_without_it"]:
            line += f"; the pool without it: {-100 * without['gain']:+z.2f} points"
        yield line


# --- the pool without a member ---


def pools_without(oof: Oof, chosen: Recipe) -> dict[Hashable, np.ndarray]:
    """What the chosen pool predicts (N), and what a pool of its kind predicts without each of several members.

    All are cross-fitted: each row is predicted by what was learned from other groups. A member that the chosen pool
    leaves out changes nothing. Without the only member that it keeps, there is no pool.
    """
    if len(set(oof.member_S)) == 1:
        return {}
    pooled = {POOL: CrossFit(oof, SEED).probabilities(chosen, None).argmax(1)}
    kept = {oof.sources[number].member for number in kept_sources(chosen, oof.sources)}
    for name in dict.fromkeys(source.member for source in oof.sources):
        if name not in kept:
            pooled["without", name] = pooled[POOL]
        elif len(kept) > 1:
            pooled["without", name] = CrossFit(_without(oof, name), SEED).probabilities(chosen, None).argmax(1)
    return pooled


def _without(oof: Oof, member: str) -> Oof:
    """The sources of all other members."""
    kept = [number for number, source in enumerate(oof.sources) if source.member != member]
    logp_SCN = oof.logp_NSC.transpose(1, 2, 0)[kept]
    return replace(oof, sources=tuple(oof.sources[number] for number in kept), logp_NSC=logp_SCN.transpose(2, 0, 1))
