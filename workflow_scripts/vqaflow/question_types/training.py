"""Training the model of question types on questions that people have labelled; equal rows give equal weights.

Shapes: N questions, F features, T types.
"""

import json
from collections import Counter
from typing import Any

import numpy as np

from vqaflow.question_types.features import features
from vqaflow.question_types.guide import mirror_matters
from vqaflow.question_types.labelled import Labelled
from vqaflow.question_types.weights import Weights, to_plain

INVERSE_REGULARIZATION = 2.0
FEWEST_ROWS = 2  # a feature of a single training row says more about that row than about its type
DECIMALS = 3
INNER_FOLDS = 5
PRECISION_KEPT = 0.88  # of flip_unsafe in training; above what is asked for, since unseen questions are harder
THRESHOLDS = np.log(np.linspace(0.05, 0.5, 46) / (1 - np.linspace(0.05, 0.5, 46)))


def fit(labelled: Labelled, flip_threshold: float | None = None) -> Weights:
    """Train both models; without `flip_threshold` it is chosen on inner folds of `labelled`."""
    from sklearn.linear_model import LogisticRegression

    found = [features(row) for row in labelled.rows]
    counts = Counter(name for names in found for name in names)
    names = sorted(name for name, count in counts.items() if count >= FEWEST_ROWS)
    holds_NF = np.array([[name in has for name in names] for has in found], np.float64)
    settings = {"C": INVERSE_REGULARIZATION, "tol": 1e-8, "max_iter": 10_000}
    of_type = LogisticRegression(**settings).fit(holds_NF, labelled.types_N)
    of_flip = LogisticRegression(**settings).fit(holds_NF, labelled.unsafe_N)
    if flip_threshold is None:
        flip_threshold = choose_threshold(labelled)
    return Weights(
        types=tuple(of_type.classes_.tolist()),
        rows={name: row for row, name in enumerate(names)},
        weights_FT=of_type.coef_.T.round(DECIMALS),
        bias_T=of_type.intercept_.round(DECIMALS),
        flip_F=of_flip.coef_[0].round(DECIMALS),
        flip_bias=round(float(of_flip.intercept_[0]), DECIMALS),
        flip_threshold=round(flip_threshold, DECIMALS),
    )


def choose_threshold(labelled: Labelled) -> float:
    """The lowest threshold of the flip model's log-odds that keeps PRECISION_KEPT on inner folds of `labelled`.

    Low because a mirrored question that needed reading does harm, while one left out of a view costs little.
    """
    from sklearn.model_selection import StratifiedKFold

    n = len(labelled.rows)
    score_N = np.empty(n)
    for train, test in StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=0).split(np.empty(n), labelled.unsafe_N):
        weights = fit(labelled.take(train), flip_threshold=0.0)
        score_N[test] = [weights.scores(features(labelled.rows[i]))[1] for i in test]
    sure_N = np.array([mirror_matters(row) for row in labelled.rows])
    for threshold in THRESHOLDS:
        called_N = sure_N | (score_N >= threshold)
        if (called_N & labelled.unsafe_N).sum() >= PRECISION_KEPT * called_N.sum():
            return float(threshold)
    return float(THRESHOLDS[-1])


def weights_text(weights: Weights, labelled: Labelled) -> str:
    """The text of the weights' file, one feature per line."""
    plain: dict[str, Any] = to_plain(weights) | {"trained_on": len(labelled.rows)}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in plain.pop("features").items())
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items())
    return f'{{\n{head},\n "features": {{\n{lines}\n }}\n}}\n'
