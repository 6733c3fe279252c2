"""The OOF ensemble against several people's answers: the section `answerers` of metrics.json (docs/answerers.md).

Shapes: N rows that several people answered, C choices.
"""

from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import PEOPLE, SOURCE, probabilities_in
from vqaflow.artifacts.rows import shares_in
from vqaflow.evaluation.metrics import SEED, summary_by
from vqaflow.reporting.agreement import (
    against_another,
    against_majority,
    counts_of,
    entropy,
    levels,
    ties,
)
from vqaflow.reporting.statistics import accuracy_summary, bootstrap_interval, log_losses


def source_metrics(rows: pd.DataFrame) -> dict[str, Any]:
    """The section `by_source`, if the rows are from several tables."""
    several = SOURCE in rows and rows[SOURCE].nunique() > 1
    return {"by_source": summary_by(rows, SOURCE)} if several else {}


def answerer_metrics(rows: pd.DataFrame) -> dict[str, Any]:
    """The section `answerers`, if there are rows (see evidence.read_oof_rows) that several people answered."""
    found = rows[rows[PEOPLE] > 1] if PEOPLE in rows else rows[:0]
    if not len(found):
        return {}
    found = found.assign(level=levels(_counts(found)))
    by_level = {str(level): part for level, part in found.groupby("level")}
    by_type = {str(qtype): part for qtype, part in found.groupby("qtype")}
    return {
        "answerers": against_people(found)
        | {
            "people": {str(people): int(n) for people, n in found[PEOPLE].value_counts().sort_index().items()},
            "by_type": {qtype: against_people(part) for qtype, part in by_type.items()},
            "by_level": {level: against_people(part) for level, part in by_level.items()},
        }
    }


def _counts(rows: pd.DataFrame) -> np.ndarray:
    shares_NC = shares_in(rows)
    assert shares_NC is not None, "a table with people has their shares"
    return counts_of(shares_NC, rows[PEOPLE].to_numpy())


def against_people(rows: pd.DataFrame) -> dict[str, Any]:
    """How well `rows` are answered by the people's answers, and how well one person would answer them."""
    counts_NC, predicted_N = _counts(rows), rows["predicted"].to_numpy()
    share_NC = counts_NC / counts_NC.sum(1, keepdims=True)
    groups_N, right_N, tied_N = rows["group"].to_numpy(), rows["right"].to_numpy(), ties(counts_NC)
    given_N, person_N = share_NC[np.arange(len(rows)), predicted_N], against_another(counts_NC)

    def mean(values_N: np.ndarray) -> dict[str, Any]:
        return {"value": float(values_N.mean()), "bootstrap": bootstrap_interval(values_N, groups_N, SEED)}

    return {
        "n": len(rows),
        "majority": accuracy_summary(right_N, groups_N, SEED)
        | {"ties": int(tied_N.sum()), "without_ties": accuracy_summary(right_N[~tied_N], groups_N[~tied_N], SEED)},
        "expected_accuracy": mean(given_N),
        "best_possible": float(share_NC.max(1).mean()),
        "one_person": mean(person_N),
        "expected_accuracy_less_one_person": mean(given_N - person_N),
        "against_majority_of_others": {
            "one_person": mean(against_majority(counts_NC)),
            "ensemble": mean(against_majority(counts_NC, predicted_N)),
        },
        "cross_entropy": mean(log_losses(rows[probabilities_in(rows)].to_numpy(), share_NC)),
        "entropy_of_shares": float(entropy(share_NC).mean()),
    }


def answerer_line(metrics: dict[str, Any]) -> str | None:
    """The headline of the section, if there is one."""
    if "answerers" not in metrics:
        return None
    found = metrics["answerers"]
    majority = found["majority"]
    return (
        f"against several people's answers (n = {found['n']:,}): {100 * found['expected_accuracy']['value']:.2f} % of "
        f"single answers agree; one person agrees with another in {100 * found['one_person']['value']:.2f} %, and the "
        f"best possible answers agree with {100 * found['best_possible']:.2f} %. Accuracy against their majority is "
        f"{100 * majority['accuracy']:.2f} %; {majority['ties']:,} rows have several equally frequent answers"
    )
