"""Train and measure the question types' model on questions that people have labelled.

``check`` measures the model that comes with the code on a CSV of yours.
``train`` makes question_weights.json anew from a CSV with the columns id, question, a, b, c, d, qtype and flip_unsafe:
the same rows give the same file. ``evaluate`` measures on such a CSV by repeated grouped cross-validation, in which a
question's wording is never in training and test at once and the threshold is chosen within the training part.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqaflow.errors import UserError
from vqaflow.files import file_digest, write_text
from vqaflow.progress import log, stage
from vqaflow.question_features import features
from vqaflow.question_guide import Row, mirror_matters
from vqaflow.question_types import NEEDED
from vqaflow.question_weights import FILE, Weights, shipped_weights, to_plain

TYPES = ("ocr", "counting", "color", "yesno", "location", "attribute", "general")  # in the guide's order of priority
INVERSE_REGULARIZATION = 2.0
FEWEST_ROWS = 2  # a feature of a single training row says more of that row than of its kind
DECIMALS = 3
INNER_FOLDS = 5
PRECISION_KEPT = 0.88  # of flip_unsafe in training; above what is asked for, since unseen questions are harder
THRESHOLDS = np.log(np.linspace(0.05, 0.5, 46) / (1 - np.linspace(0.05, 0.5, 46)))


@dataclass(frozen=True)
class Labelled:
    """N labelled questions, read."""

    questions: tuple[str, ...]
    rows: tuple[Row, ...]
    types_N: np.ndarray
    unsafe_N: np.ndarray

    def take(self, which: Sequence[int] | np.ndarray) -> "Labelled":
        """Some of them."""
        return Labelled(
            tuple(self.questions[i] for i in which),
            tuple(self.rows[i] for i in which),
            self.types_N[which],
            self.unsafe_N[which],
        )


def read_labelled(source: Path) -> Labelled:
    """Read a labelled CSV; raises UserError on missing columns and unknown labels."""
    from vqaflow.question_reading import read_rows as read_questions
    from vqaflow.submission_files import read_rows

    header, records = read_rows(source)
    needed = (*NEEDED, "qtype", "flip_unsafe")
    if missing := [name for name in needed if name not in header]:
        raise UserError(f"{source}: no column {', '.join(missing)}. Give a CSV with {', '.join(needed)}.")
    rows = [dict(zip(header, record, strict=True)) for record in records]
    for row in rows:
        if row["qtype"] not in TYPES or row["flip_unsafe"] not in ("0", "1"):
            what = f"qtype {row['qtype']!r} or flip_unsafe {row['flip_unsafe']!r} is no label"
            raise UserError(f"{source}: row {row['id']}: {what}. Give one of {', '.join(TYPES)}, and 0 or 1.")
    return Labelled(
        tuple(row["question"] for row in rows),
        tuple(read_questions(rows)),
        np.array([row["qtype"] for row in rows]),
        np.array([row["flip_unsafe"] == "1" for row in rows]),
    )


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
    """The weights' file, one feature a line."""
    plain: dict[str, Any] = to_plain(weights) | {"trained_on": len(labelled.rows)}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in plain.pop("features").items())
    head = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in plain.items())
    return f'{{\n{head},\n "features": {{\n{lines}\n }}\n}}\n'


def main() -> None:
    """Train or evaluate by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.question_model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("check", "train", "evaluate"):
        command = commands.add_parser(name)
        command.add_argument("labelled", type=Path, help="CSV: id, question, a, b, c, d, qtype, flip_unsafe")
        if name == "train":
            command.add_argument("--out", type=Path, default=FILE, help="default: the package's own file")
        elif name == "evaluate":
            command.add_argument("--repeats", type=int, default=5, help="of the 10 folds; default: %(default)s")
    given = parser.parse_args()
    with stage(None):
        labelled = read_labelled(given.labelled)
        if given.command == "train":
            write_text(given.out, weights_text(fit(labelled), labelled))
            log.info("%s: put its digest into question_weights.SHA256: %s", given.out, file_digest(given.out))
        else:
            from vqaflow.question_evaluation import cross_validated_report, report

            checks = given.command == "check"
            print(report(labelled, shipped_weights()) if checks else cross_validated_report(labelled, given.repeats))


if __name__ == "__main__":
    main()
