"""What the ensemble is compared with, and in which parts it is good: sections of metrics.json for the summary.

Shapes: N rows of the training table, S sources, V voters (members, or one member's views), C choices.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.choices import OWN
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.config.members import UNTUNED
from vqaflow.evaluation.evidence import Evidence
from vqaflow.evaluation.metrics import summary_by
from vqaflow.evaluation.single_passes import ABSENT, against_ensemble
from vqaflow.reporting.agreement import in_order

LETTER, TEXT, BASE = "most frequent letter", "text alone", "untuned base"  # kinds of baselines


def baseline_metrics(found: Evidence, blind: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The section `baselines`: systems that need no training or no image, each with the ensemble's gain over it.

    `chance` is the accuracy of guessing among each row's own choices. The most frequent letter is that of all rows, so
    that its accuracy is the highest of any letter. `blind` are the probabilities (N, C) of the blind views.
    """
    rows = found.rows
    counts_C = np.bincount(rows["answer_index"], minlength=1)
    letter = int(counts_C.argmax())
    systems = [(LETTER, f"always {ALL_LETTERS[letter]}", np.full(len(rows), letter))]
    for name, p_NC in blind.items():
        there_N = ~np.isnan(p_NC[:, 0])
        systems.append((TEXT, name, np.where(there_N, np.nan_to_num(p_NC).argmax(1), ABSENT)))
    for name, given in found.answers.items():
        if given.note["kind"] == UNTUNED:
            systems.append((BASE, name, given.oof_NC.argmax(1)))
    return {
        "chance": float((1 / rows[OWN].str.len()).mean()),
        "each": [
            {"kind": kind, "name": name} | against_ensemble(rows, predicted_N) for kind, name, predicted_N in systems
        ],
    }


def part_metrics(found: Evidence) -> dict[str, Any]:
    """Accuracy by the number of a row's choices, and by how many of the ensemble's parts give its answer ("2/3")."""
    rows = found.rows.assign(choices=found.rows[OWN].str.len())
    parts = {"by_choices": summary_by(rows, "choices")}
    votes_NV = votes(found)
    if votes_NV.shape[1] > 1:
        there_NV = votes_NV != ABSENT
        agree_N = (votes_NV == rows["predicted"].to_numpy()[:, None]).sum(1)
        rows["votes"] = [f"{agree}/{there}" for agree, there in zip(agree_N, there_NV.sum(1), strict=True)]
        by_votes = summary_by(rows, "votes")
        parts["by_votes"] = {level: by_votes[level] for level in in_order(set(by_votes))}
    return parts


def votes(found: Evidence) -> np.ndarray:
    """The letters (N, V) of the members; of the only member's views, if there is one member."""
    if len(found.answers) > 1:
        return np.stack([given.oof_NC.argmax(1) for given in found.answers.values()], axis=1)
    logp_NVC = found.oof.logp_NSC
    there_NV = ~np.isnan(logp_NVC[:, :, 0])
    return np.where(there_NV, np.nan_to_num(logp_NVC, nan=-np.inf).argmax(2), ABSENT)


def kept_epoch(history: pd.DataFrame, keep: str | None) -> dict[str, Any]:
    """The step and the epoch whose weights a training kept, and the accuracy of the held-out rows there.

    As train_adapter does: the last epoch, or with `keep: best` the first of the most accurate ones. Nothing is known
    if the training's record does not say which.
    """
    if keep is None or not len(history):
        return {"kept_step": None, "kept_epoch": None, "kept_val_accuracy": None}
    measured = history["val_accuracy"].dropna()
    kept = history.loc[measured.idxmax() if keep == "best" and len(measured) else history.index[-1]]
    accuracy = None if np.isnan(kept["val_accuracy"]) else float(kept["val_accuracy"])
    return {"kept_step": int(kept["step"]), "kept_epoch": float(kept["epoch"]), "kept_val_accuracy": accuracy}
