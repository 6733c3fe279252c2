"""The line that a finished run ends with: what was reached, with its interval."""

import csv
import json
from pathlib import Path

from vqaflow.statistics import wilson


def closing_line(results: Path) -> str:
    """OOF accuracy and, for the demo, whose answers are known, the held-out accuracy of the submission."""
    metrics = results / "evaluation" / "metrics.json"
    if not metrics.is_file():
        return "vqaflow: done"
    overall = json.loads(metrics.read_text(encoding="utf-8"))["overall"]
    line = f"vqaflow: OOF accuracy {share(overall['right'], overall['n'])}"
    answers, submission = results / "demo" / "test_answers.csv", results / "submission.csv"
    if answers.is_file() and submission.is_file():
        right, given = read_answers(answers), read_answers(submission)
        if right.keys() == given.keys():
            line += f"; demo held-out accuracy {share(sum(right[i] == given[i] for i in right), len(right))}"
    return line + f"; submission: {submission}"


def share(right: int, n: int) -> str:
    """A proportion with its Wilson interval, in words."""
    low, high = wilson(right, n)
    return f"{right / n:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {n})"


def read_answers(path: Path) -> dict[str, str]:
    """Answers by id."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["id"]: row["answer"] for row in csv.DictReader(file)}
