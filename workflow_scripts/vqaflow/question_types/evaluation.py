"""How good the model of question types is on labelled questions, and how that grows with more training.

Shapes: N questions, R repeats of the cross-validation.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vqaflow.question_types.classify import decide
from vqaflow.question_types.labelled import TYPES, Labelled
from vqaflow.question_types.training import fit
from vqaflow.question_types.weights import Weights
from vqaflow.runtime.progress import ProgressBar

FOLDS = 10
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """Labels, and the answers of models trained on the other folds; types are positions in TYPES."""

    types_N: np.ndarray
    unsafe_N: np.ndarray
    said_types_RN: np.ndarray
    said_unsafe_RN: np.ndarray

    def take(self, which: np.ndarray) -> "Judged":
        """Some of the questions, with all repeats."""
        return Judged(
            self.types_N[which], self.unsafe_N[which], self.said_types_RN[:, which], self.said_unsafe_RN[:, which]
        )


def accuracy(judged: Judged) -> float:
    """Share of right types."""
    return float((judged.said_types_RN == judged.types_N).mean())


def f1_by_type(judged: Judged) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 of each type that is present, over all repeats."""
    table = {}
    for position, name in enumerate(TYPES):
        is_N, said_RN = judged.types_N == position, judged.said_types_RN == position
        if is_N.any():
            right = (said_RN & is_N).sum()
            precision, recall = right / max(said_RN.sum(), 1), right / (is_N.sum() * len(said_RN))
            table[name] = (precision, recall, 2 * precision * recall / max(precision + recall, 1e-12))
    return table


def macro_f1(judged: Judged) -> float:
    """Mean F1 of the types that are present."""
    return float(np.mean([f1 for *_, f1 in f1_by_type(judged).values()]))


def flip_recall(judged: Judged) -> float:
    """Share of the questions unsafe to mirror that the model calls unsafe."""
    return float(judged.said_unsafe_RN[:, judged.unsafe_N].mean())


def flip_precision(judged: Judged) -> float:
    """Share of the questions called unsafe to mirror that are unsafe."""
    return float((judged.said_unsafe_RN & judged.unsafe_N).sum() / max(judged.said_unsafe_RN.sum(), 1))


MEASURES: dict[str, Callable[[Judged], float]] = {
    "accuracy": accuracy,
    "macro-F1": macro_f1,
    "flip recall": flip_recall,
    "flip precision": flip_precision,
}


def judge(labelled: Labelled, weights: Weights) -> Judged:
    """What the model with `weights` says of all questions, as one repeat."""
    said = [decide(row, weights) for row in labelled.rows]
    return Judged(
        positions(labelled),
        labelled.unsafe_N,
        np.array([[TYPES.index(one.qtype) for one in said]]),
        np.array([[one.flip_unsafe for one in said]]),
    )


def positions(labelled: Labelled) -> np.ndarray:
    """The labelled types (N) as positions in TYPES."""
    return np.array([TYPES.index(name) for name in labelled.types_N])


def cross_validate(labelled: Labelled, repeats: int, share: float = 1.0, title: str = "cross-validation") -> Judged:
    """What models say of the questions that they were not trained on; `share` of each training part is used.

    Folds are stratified by type, and equal questions (with other choices) are in the same fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    n = len(labelled.rows)
    types_N = positions(labelled)
    said_types_RN, said_unsafe_RN = np.empty((repeats, n), np.int64), np.empty((repeats, n), bool)
    with ProgressBar(repeats * FOLDS, title, unit="fold") as bar, warnings.catch_warnings():
        # a type with fewer rows than folds is merely absent from some of them
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for repeat in range(repeats):
            folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
            for train, test in folds.split(np.empty(n), types_N, labelled.questions):
                kept = np.random.default_rng(repeat).permutation(train)[: round(share * len(train))]
                weights = fit(labelled.take(np.sort(kept)))
                said = [decide(labelled.rows[i], weights) for i in test]
                said_types_RN[repeat, test] = [TYPES.index(one.qtype) for one in said]
                said_unsafe_RN[repeat, test] = [one.flip_unsafe for one in said]
                bar.advance()
    return Judged(types_N, labelled.unsafe_N, said_types_RN, said_unsafe_RN)


def interval(measure: Callable[[Judged], float], judged: Judged) -> tuple[float, float]:
    """95 % percentile bootstrap interval over questions, each drawn with all its repeats."""
    rng = np.random.default_rng(0)
    n = len(judged.types_N)
    values = [measure(judged.take(rng.integers(0, n, n))) for _ in range(DRAWS)]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def report(labelled: Labelled, weights: Weights) -> str:
    """The figures of a model for questions that it was not trained on."""
    return "\n".join([f"{len(labelled.rows)} questions", *table(judge(labelled, weights))])


def cross_validated_report(labelled: Labelled, repeats: int) -> str:
    """The same for models trained on the other folds, and the learning curve."""
    judged = cross_validate(labelled, repeats)
    lines = [f"{len(labelled.rows)} questions, {repeats} x {FOLDS} folds", *table(judged)]
    lines += ["", "share of training  accuracy  macro-F1  flip recall  flip precision"]
    for share in SHARES:
        part = judged if share == 1 else cross_validate(labelled, repeats, share, f"with {share:.0%} of training")
        values = "     ".join(f"{measure(part):.3f}" for measure in MEASURES.values())
        lines.append(f"{share:4.0%}               {values}")
    return "\n".join(lines)


def table(judged: Judged) -> list[str]:
    """Measures with 95 % bootstrap intervals over questions, and one line per type."""
    lines = []
    for name, measure in MEASURES.items():
        low, high = interval(measure, judged)
        lines.append(f"{name:15s} {measure(judged):.3f} [{low:.3f}, {high:.3f}]")
    lines += ["", "type        n    precision  recall  F1"]
    for name, (precision, recall, f1) in f1_by_type(judged).items():
        count = (judged.types_N == TYPES.index(name)).sum()
        lines.append(f"{name:10s} {count:4d}  {precision:.3f}      {recall:.3f}   {f1:.3f}")
    return lines
