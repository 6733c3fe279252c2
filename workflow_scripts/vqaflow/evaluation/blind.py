"""How much of the accuracy needs no image: the blind views of a run (question and choices alone, or a grey image).

Shapes: N rows of the training table, C choices.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.choices import OWN
from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.score_files import ScoreFile, read_logits, row_index
from vqaflow.evaluation.evidence import Evidence, transcripts
from vqaflow.reporting.figures import MUTED, PALETTE, drawable, label_axes, new_figure, save
from vqaflow.reporting.statistics import accuracy_summary, widest
from vqaflow.scoring.order_pooling import pool_orders, position_prior

SURE = 0.9  # a row needs no image if a blind view is right with at least this confidence
SEED = 0  # of the bootstrap
FIGURE = "blind.png"


def read_blind(found: Evidence) -> dict[str, np.ndarray]:
    """The probabilities (N, C) of each blind view, NaN where it lacks a row: pooled over orders, then over seeds."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for file in found.blind_files:
        mine_N, p_NC = probabilities(file, found.rows, found.answers[file.member].note["order_pooling"])
        name = found.named(file.member, file.view)
        sums[name] = sums.get(name, 0) + p_NC
        counts[name] = counts.get(name, 0) + mine_N
    with np.errstate(invalid="ignore"):
        return {name: total_NC / counts[name][:, None] for name, total_NC in sums.items()}


def probabilities(file: ScoreFile, rows: pd.DataFrame, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Which of `rows` (id, fold) a file has (N), and its probabilities (N, C), 0 where it lacks a row."""
    fold = fold_of(file.part)
    mine = np.arange(len(rows)) if fold is None else np.flatnonzero(rows["fold"] == fold)
    logits = read_logits(file, row_index(rows["id"].iloc[mine].tolist()))
    p = np.exp(pool_orders(logits, how, position_prior(logits) if how == "prior" else None))
    there_N, p_NC = np.zeros(len(rows)), np.zeros((len(rows), p.shape[1]))
    there_N[mine] = logits.present_N
    p_NC[mine] = np.nan_to_num(p)
    return there_N, p_NC


def blind_metrics(rows: pd.DataFrame, blind: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The section `blind` of metrics.json: each blind view beside the ensemble, overall and by type."""
    return {name: one_view(rows, p_NC) for name, p_NC in blind.items()}


def one_view(rows: pd.DataFrame, p_NC: np.ndarray) -> dict[str, Any]:
    """A blind view's accuracy and the ensemble's on its rows, and how many rows need no image."""
    there_N = ~np.isnan(p_NC[:, 0])
    rows, p_NC = rows[there_N], p_NC[there_N]
    right_N = p_NC.argmax(1) == rows["answer_index"].to_numpy()
    told = rows.assign(blind_right=right_N)
    return {
        "overall": pair(told),
        "by_type": {str(kind): pair(part) for kind, part in told.groupby("qtype")},
        "chance": float((1 / rows[OWN].str.len()).mean()),
        "needs_no_image": {"rows": int((right_N & (p_NC.max(1) >= SURE)).sum()), "n": len(told), "confidence": SURE},
    }


def pair(part: pd.DataFrame) -> dict[str, Any]:
    """The accuracy without the image, and the ensemble's with it, on the same rows."""
    groups = part["group"].to_numpy()
    return {
        "blind": accuracy_summary(part["blind_right"].to_numpy(), groups, SEED),
        "ensemble": accuracy_summary(part["right"].to_numpy(), groups, SEED),
    }


def gallery_notes(found: Evidence, blind: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
    """What the gallery says of rows besides their answers, by id: those that need no image, and what was read."""
    notes: dict[str, list[str]] = {}
    ids, answers_N = found.rows["id"].tolist(), found.rows["answer_index"].to_numpy()
    for name, p_NC in blind.items():
        sure_N = np.nan_to_num(p_NC[np.arange(len(ids)), answers_N])
        for place in np.flatnonzero(sure_N >= SURE):
            share = f"{100 * sure_N[place]:.0f} %"
            notes.setdefault(ids[place], []).append(f"needs no image: {name} is right with {share}")
    for name, texts in transcripts(found.files, found.named).items():
        for row_id, text in texts.items():
            notes.setdefault(row_id, []).append(f"{name} read: {text or '(nothing)'}")
    return notes


def draw_blind(metrics: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy with and without the image, overall and by question type, with 95 % intervals."""
    views = metrics["blind"]
    kinds = list(dict.fromkeys(kind for view in views.values() for kind in view["by_type"]))
    figure, panels = new_figure(
        "Does it look at the image?", 1, len(views), (1 + 5 * len(views), 1.6 + 0.45 * len(kinds)), squeeze=False
    )
    for axes, (name, view) in zip(panels[0], views.items(), strict=True):
        parts = {"all": view["overall"]} | {kind: view["by_type"][kind] for kind in kinds if kind in view["by_type"]}
        for shift, system, color in ((-0.15, "ensemble", PALETTE[0]), (0.15, "blind", PALETTE[1])):
            for place, part in enumerate(parts.values()):
                low, high = widest(part[system])
                axes.plot([low, high], [place + shift] * 2, color=color, linewidth=2)
                label = {"ensemble": "with the image", "blind": "without"}[system] if place == 0 else None
                axes.plot(part[system]["accuracy"], place + shift, "o", color=color, markersize=5, label=label)
        axes.axvline(view["chance"], color=MUTED, linewidth=0.8, zorder=0)
        axes.set_yticks(range(len(parts)), [f"{kind}  n={part['blind']['n']:,}" for kind, part in parts.items()])
        axes.set(xlim=(0, 1.02), ylim=(len(parts) - 0.5, -0.5))
        axes.legend(fontsize=8)
        sure = view["needs_no_image"]
        label_axes(axes, "accuracy", "", f"{drawable(name)}: {sure['rows']:,} of {sure['n']:,} rows need no image")
    save(figure, path)


def blind_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the blind views show, in words."""
    return [
        f"{name}: {100 * view['overall']['blind']['accuracy']:.2f} % without the image, "
        f"{100 * view['overall']['ensemble']['accuracy']:.2f} % with it, n = {view['overall']['blind']['n']}; "
        f"{view['needs_no_image']['rows']} rows need no image"
        for name, view in metrics.get("blind", {}).items()
    ]
