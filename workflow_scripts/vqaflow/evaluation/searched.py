"""OOF accuracy without the folds whose rows chose training parameters (hpo.folds): those rows are too easy a test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.reading import damaged, read_yaml
from vqaflow.evaluation.metrics import SEED
from vqaflow.reporting.statistics import accuracy_summary

RULE = "search_hyperparameters"


def searched_folds(best: Path) -> list[int]:
    """The folds by which a search chose, from its best.yaml. Raises UserError if the file is missing or damaged."""
    found = read_yaml(best, RULE, ["saw.folds"])
    try:
        return [int(fold["fold"]) for fold in found["saw"]["folds"]]
    except (LookupError, TypeError, ValueError) as error:
        raise damaged(best, RULE, error) from None


def search_metrics(rows: pd.DataFrame, searches: Sequence[Path]) -> dict[str, Any]:
    """What metrics.json says of searches under `search`: their folds, and OOF accuracy without these; {} if none.

    The accuracy is None if the searches chose by all folds.
    """
    if not searches:
        return {}
    by_member = {best.parent.name: searched_folds(best) for best in searches}
    folds = sorted({fold for chosen in by_member.values() for fold in chosen})
    rest = rows[~rows["fold"].isin(folds)]
    without = accuracy_summary(rest["right"].to_numpy(), rest["group"].to_numpy(), SEED) if len(rest) else None
    return {"search": {"folds": folds, "by_member": by_member, "without_these_folds": without}}
