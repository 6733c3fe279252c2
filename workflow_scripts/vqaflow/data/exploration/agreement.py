"""How far the people who answered the training rows agree: a section of summary.json and a figure.

Shapes: N rows, C choices.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import PEOPLE, QTYPES
from vqaflow.artifacts.rows import shares_in
from vqaflow.reporting.agreement import against_another, counts_of, in_order, levels, ties
from vqaflow.reporting.figures import label_axes, new_figure, save


def agreement_summary(train: pd.DataFrame) -> dict[str, Any]:
    """The section `agreement`, if several people answered some rows: in all and by type."""
    several = train[train[PEOPLE] > 1] if PEOPLE in train else train[:0]
    shares_NC = shares_in(several)
    if shares_NC is None or not len(several):
        return {}
    counts_NC = counts_of(shares_NC, several[PEOPLE].to_numpy())
    types = several["qtype"].to_numpy()
    parts = {"all": np.ones(len(several), bool)} | {name: types == name for name in QTYPES if name in types}
    return {"agreement": {name: _part(counts_NC[inside_N]) for name, inside_N in parts.items()}}


def _part(counts_NC: np.ndarray) -> dict[str, Any]:
    found, n = np.unique(levels(counts_NC), return_counts=True)
    return {
        "n": len(counts_NC),
        "levels": dict(zip(found.tolist(), n.tolist(), strict=True)),
        "ties": int(ties(counts_NC).sum()),
        "one_person": float(against_another(counts_NC).mean()),
        "most_frequent": float((counts_NC.max(1) / counts_NC.sum(1)).mean()),
    }


def draw_agreement(summary: Mapping[str, Any], path: Path) -> None:
    """By question type, the shares of rows in which so many people gave the same answer."""
    parts = summary["agreement"]
    figure, axes = new_figure("How far people agree (training rows)", size=(8.5, 1.8 + 0.42 * len(parts)))
    names = in_order({level for part in parts.values() for level in part["levels"]})
    left = np.zeros(len(parts))
    for place, level in enumerate(names):
        shares = np.array([part["levels"].get(level, 0) / part["n"] for part in parts.values()])
        grey = place / max(1, len(names) - 1)
        color = (0.0 + 0.85 * grey, 0.35 + 0.52 * grey, 0.6 + 0.3 * grey)  # dark blue: agreement; light: none
        axes.barh(list(parts), shares, left=left, color=color, label=level)
        for line, share in enumerate(shares):
            if share > 0.06:
                x, tone = left[line] + share / 2, "white" if grey < 0.5 else "black"
                axes.text(x, line, f"{100 * share:.0f} %", ha="center", va="center", size=8, color=tone)
        left += shares
    for line, part in enumerate(parts.values()):
        text = f"one person {100 * part['one_person']:.0f} %  n={part['n']:,}"
        axes.text(1.01, line, text, va="center", size=8, transform=axes.get_yaxis_transform())
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=min(len(names), 6))
    label_axes(axes, "share of rows, by how many people gave the most frequent answer", "")
    save(figure, path)
