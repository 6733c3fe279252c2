"""How far the people who answered a row agree, and what one of them scores against the others.

A person's score is found by leaving each person out in turn. Of m people, k(c) gave choice c:

- against another person: the others gave c k(c) - 1 times, so that a row counts
  sum over c of k(c) / m · (k(c) - 1) / (m - 1). It is the agreement P_i of Fleiss 1971 (doi 10.1037/h0031619), and is
  unbiased: the people are as likely to agree as two others like them. A model's counterpart is its expected accuracy,
  the mean of k(predicted) / m, which is that of a person who saw none of the answers.
- against the majority of the others: the person who gave c is right if c is the most frequent of k without that answer;
  where t choices are, by 1 / t. A model's counterpart is scored against the same majorities of m - 1 people.

A model may score more than a person: the most frequent answer of many is often better than one. No model's expected
accuracy exceeds the mean of max k(c) / m, what always giving the most frequent answer scores.

Shapes: N rows, C choices. `counts_NC` is k, with two people or more in each row.
"""

import numpy as np

from vqaflow.reporting.statistics import share_given


def counts_of(shares_NC: np.ndarray, people_N: np.ndarray) -> np.ndarray:
    """How many people gave each choice (N, C), whole numbers."""
    return np.rint(shares_NC * people_N[:, None])


def against_another(counts_NC: np.ndarray) -> np.ndarray:
    """The probability (N) that two different people of a row gave the same choice."""
    people_N = counts_NC.sum(1)
    return (counts_NC * (counts_NC - 1)).sum(1) / (people_N * (people_N - 1))


def against_majority(counts_NC: np.ndarray, predicted_N: np.ndarray | None = None) -> np.ndarray:
    """What a person scores (N) against the majority of the others, or, if given, what a model's choice scores."""
    choices, rows_N = counts_NC.shape[1], np.arange(len(counts_NC))
    share_NC, total_N = counts_NC / counts_NC.sum(1, keepdims=True), np.zeros(len(counts_NC))
    for left_out in range(choices):
        others_NC = counts_NC - np.eye(choices)[left_out]
        best_NC = others_NC == others_NC.max(1, keepdims=True)
        chosen_N = np.full(len(rows_N), left_out) if predicted_N is None else predicted_N
        total_N += share_NC[:, left_out] * best_NC[rows_N, chosen_N] / best_NC.sum(1)
    return total_N


def levels(counts_NC: np.ndarray) -> np.ndarray:
    """How many people gave the most frequent choice, of how many (N), as `4/5`."""
    return np.array([f"{top:.0f}/{people:.0f}" for top, people in zip(counts_NC.max(1), counts_NC.sum(1), strict=True)])


def in_order(found: set[str]) -> list[str]:
    """Levels from full agreement to the least, more people first."""

    def key(level: str) -> tuple[float, int]:
        top, people = map(int, level.split("/"))
        return -top / people, -people

    return sorted(found, key=key)


def ties(counts_NC: np.ndarray) -> np.ndarray:
    """Whether several choices of a row are its most frequent (N)."""
    return (counts_NC == counts_NC.max(1, keepdims=True)).sum(1) > 1


def entropy(shares_NC: np.ndarray) -> np.ndarray:
    """-sum of share · log share in nats (N): the least cross-entropy to these shares that any probabilities have."""
    return -share_given(shares_NC, np.log(np.where(shares_NC > 0, shares_NC, 1.0)))
