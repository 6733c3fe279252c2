"""Training the models of question types on questions that people have labelled; equal rows give equal weights.

Shapes: N questions, F features, U scores (the types', then the one of mirroring).
"""

import json
from collections import Counter

import numpy as np

from vqaflow.question_types.features import PAIR, TURNED, features
from vqaflow.question_types.labelled import Labelled
from vqaflow.question_types.weights import Weights, key, to_plain

# Newton's steps reach the one optimum; L-BFGS stops where no step is seen to help, which differs between machines.
SETTINGS = {"C": 1.0, "solver": "newton-cg", "tol": 1e-8, "max_iter": 1000}
PAIR_SCALE = 0.5  # a pair of a look and what is asked holds in fewer other tables than either, so it weighs less
TURNED_SCALE = 3.0
FEWEST_ROWS = 2  # a feature of a single training row says more about that row than about its type
UNIT = 1000  # of the weights: thousandths of log-odds
LEAST = 5  # a feature with smaller weights decides nothing, and is left out of the file
INNER_FOLDS = 8
PRECISION = 0.8  # of flip_unsafe on inner folds, the mean of the sources
THRESHOLDS = range(-4 * UNIT, UNIT, UNIT // 20)


def fit(labelled: Labelled, flip_threshold: int | None = None) -> Weights:
    """Train both models; without `flip_threshold` it is chosen on inner folds of `labelled`."""
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression

    if flip_threshold is None:
        flip_threshold = choose_threshold(labelled)
    found = [features(row) for row in labelled.rows]
    counts = Counter(name for names in found for name in names)
    names = sorted(name for name, count in counts.items() if count >= FEWEST_ROWS)
    place = {name: i for i, name in enumerate(names)}
    scale_F = np.array(
        [PAIR_SCALE if PAIR in name else TURNED_SCALE if name.startswith(TURNED) else 1.0 for name in names]
    )
    kept = [[place[name] for name in sorted(of_row & place.keys())] for of_row in found]
    starts, columns = np.cumsum([0, *map(len, kept)]), np.array([i for row in kept for i in row])
    holds_NF = csr_array((scale_F[columns], columns, starts), shape=(len(found), len(names)))
    of_type = LogisticRegression(**SETTINGS).fit(holds_NF, labelled.types_N)
    of_flip = LogisticRegression(**SETTINGS).fit(holds_NF, labelled.unsafe_N)
    weights_FU = np.column_stack([of_type.coef_.T, of_flip.coef_[0]]) * scale_F[:, None]
    rows_FU = (weights_FU * UNIT).round().astype(np.int64)
    telling_F = np.flatnonzero(np.abs(rows_FU).max(1) >= LEAST)
    return Weights(
        types=tuple(of_type.classes_.tolist()),
        rows={key(names[i]): row for row, i in enumerate(telling_F)},
        weights_FU=rows_FU[telling_F],
        bias_U=(np.append(of_type.intercept_, of_flip.intercept_) * UNIT).round().astype(np.int64),
        flip_threshold=flip_threshold,
    )


def choose_threshold(labelled: Labelled) -> int:
    """The lowest threshold of flip_unsafe at which the sources' mean precision is PRECISION on inner folds.

    Low because a mirrored question that needed reading does harm, while one left out of a view costs little.
    """
    from sklearn.model_selection import GroupKFold

    folds = GroupKFold(INNER_FOLDS, shuffle=True, random_state=0)
    score_N = np.empty(len(labelled.rows))
    for train, test in folds.split(labelled.types_N, groups=labelled.templates_N):
        weights = fit(labelled.take(train), flip_threshold=0)
        score_N[test] = [weights.say(features(labelled.rows[i]))[1] for i in test]

    def precision(threshold: int) -> float:
        called = [(score_N >= threshold) & (labelled.sources_N == name) for name in np.unique(labelled.sources_N)]
        return float(np.mean([labelled.unsafe_N[is_N].mean() for is_N in called if is_N.any()]))

    return next((threshold for threshold in THRESHOLDS if precision(threshold) >= PRECISION), THRESHOLDS[-1])


def weights_text(weights: Weights, labelled: Labelled) -> str:
    """The text of the weights' file."""
    return json.dumps(to_plain(weights) | {"trained_on": sources_text(labelled)}, indent=1) + "\n"


def sources_text(labelled: Labelled) -> dict[str, int]:
    """How many questions are from each source."""
    return {name: int((labelled.sources_N == name).sum()) for name in np.unique(labelled.sources_N).tolist()}
