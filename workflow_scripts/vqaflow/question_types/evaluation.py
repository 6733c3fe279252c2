"""How good the model of question types is on labelled questions.

Shapes: N questions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vqaflow.question_types.classify import decide
from vqaflow.question_types.labelled import TYPES, Labelled
from vqaflow.question_types.training import choose_threshold, fit
from vqaflow.question_types.weights import Weights
from vqaflow.runtime.progress import ProgressBar

FOLDS = 5
DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """Labels, and the answers of models that were not trained on them; types are positions in TYPES."""

    types_N: np.ndarray
    unsafe_N: np.ndarray
    said_types_N: np.ndarray
    said_unsafe_N: np.ndarray

    def take(self, which: np.ndarray) -> "Judged":
        """Some of the questions."""
        return Judged(*(values[which] for values in vars(self).values()))


def accuracy(judged: Judged) -> float:
    """Share of right types."""
    return float((judged.said_types_N == judged.types_N).mean())


def flip_recall(judged: Judged) -> float:
    """Share of the questions unsafe to mirror that the model calls unsafe."""
    return float((judged.said_unsafe_N & judged.unsafe_N).sum() / max(judged.unsafe_N.sum(), 1))


def flip_precision(judged: Judged) -> float:
    """Share of the questions called unsafe to mirror that are unsafe."""
    return float((judged.said_unsafe_N & judged.unsafe_N).sum() / max(judged.said_unsafe_N.sum(), 1))


MEASURES: dict[str, Callable[[Judged], float]] = {
    "accuracy": accuracy,
    "flip recall": flip_recall,
    "flip precision": flip_precision,
}


def judge(labelled: Labelled, weights: Weights) -> Judged:
    """What the model with `weights` says of all questions."""
    said = [decide(row, weights) for row in labelled.rows]
    return Judged(
        np.array([TYPES.index(name) for name in labelled.types_N]),
        labelled.unsafe_N,
        np.array([TYPES.index(one.qtype) for one in said]),
        np.array([one.flip_unsafe for one in said]),
    )


def cross_validate(labelled: Labelled) -> Judged:
    """What models say of the questions that they were not trained on; near-same questions share a fold.

    One threshold of flip_unsafe is chosen for all, on other folds.
    """
    from sklearn.model_selection import GroupKFold

    threshold = choose_threshold(labelled)
    parts, places = [], []
    with ProgressBar(FOLDS, "cross-validation", unit="fold") as bar:
        folds = GroupKFold(FOLDS, shuffle=True, random_state=1)
        for train, test in folds.split(labelled.types_N, groups=labelled.templates_N):
            parts.append(judge(labelled.take(test), fit(labelled.take(train), threshold)))
            places.append(test)
            bar.advance()
    joined = (np.concatenate(values) for values in zip(*(vars(part).values() for part in parts), strict=True))
    return Judged(*joined).take(np.argsort(np.concatenate(places)))


def transfer(labelled: Labelled, name: str) -> Judged:
    """What a model trained on all other sources says of the source `name`."""
    is_N = labelled.sources_N == name
    return judge(labelled.take(np.flatnonzero(is_N)), fit(labelled.take(np.flatnonzero(~is_N))))


def interval(measure: Callable[[Judged], float], judged: Judged) -> tuple[float, float]:
    """95 % percentile bootstrap interval over questions."""
    rng = np.random.default_rng(0)
    n = len(judged.types_N)
    values = [measure(judged.take(rng.integers(0, n, n))) for _ in range(DRAWS)]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def table(judged: dict[str, Judged]) -> str:
    """A table in Markdown: each measure of each set of questions, with 95 % bootstrap intervals over them."""
    lines = [f"| questions | n | unsafe | {' | '.join(MEASURES)} |", "|" + " --- |" * (3 + len(MEASURES))]
    for name, one in judged.items():
        cells = [name, str(len(one.types_N)), str(int(one.unsafe_N.sum()))]
        for measure in MEASURES.values():
            low, high = interval(measure, one)
            cells.append(f"{measure(one):.3f} ({low:.3f}–{high:.3f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
