"""The figure of the members: their accuracies, and how far they fail on the same rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from vqaflow.config.members import FOREIGN, TUNED, UNTUNED
from vqaflow.reporting.figures import MUTED, PALETTE, drawable, heatmap, label_axes, new_figure, save
from vqaflow.reporting.statistics import widest

KINDS = {
    "ensemble": ("the pool", PALETTE[6]),
    TUNED: ("tuned", PALETTE[0]),
    UNTUNED: ("untuned", PALETTE[1]),
    FOREIGN: ("someone's file", PALETTE[2]),
}
LONGEST_NAME = 24  # letters of a name that are drawn; longer ones lose their middle
WITH_TEXT = 12  # more members than these have no numbers in the cells of the matrix


def draw_members(metrics: Mapping[str, Any], path: Path) -> None:
    """Draw each member's OOF accuracy with its interval, and, of several, the overlap of their errors."""
    members = metrics["members"]
    names = [shortened(name) for name in members["names"]]
    count = len(names)
    height = 2.1 + 0.3 * (count + 1)
    if count == 1:
        figure, left = new_figure("The ensemble and its member (OOF)", size=(7.5, height))
    else:
        side = 2.2 + 0.62 * min(count, WITH_TEXT) + 0.3 * max(0, count - WITH_TEXT)
        figure, (left, right) = new_figure(
            "Members (OOF)", 1, 2, (6.5 + side, max(height, side)), width_ratios=(5.2, side)
        )
        draw_overlap(right, members, names)
    draw_accuracies(left, metrics, names)
    if count > 1:
        figure.legend(fontsize=8, loc="outside lower left", ncols=len(KINDS))
    save(figure, path)


def shortened(name: str) -> str:
    """A name that can be drawn, and is not too long."""
    half = LONGEST_NAME // 2
    return drawable(name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}")


def draw_accuracies(axes: Axes, metrics: Mapping[str, Any], names: list[str]) -> None:
    """One line for the ensemble and for each member: accuracy, interval and weight."""
    facts = [metrics["overall"] | {"kind": "ensemble", "weight": None}, *metrics["members"]["each"].values()]
    seen = set()
    for place, fact in enumerate(facts):
        label, color = KINDS[fact["kind"]]
        low, high = widest(fact)
        axes.plot([low, high], [place, place], color=color, linewidth=2)
        axes.plot(fact["accuracy"], place, "o", color=color, label=None if label in seen else label)
        seen.add(label)
        weight = "" if fact["weight"] is None or len(names) == 1 else f"  weight {fact['weight']:.2f}"
        text = f"{100 * fact['accuracy']:.1f} %{weight}"
        axes.text(1.01, place, text, va="center", size=8, transform=axes.get_yaxis_transform())
    axes.axvline(metrics["overall"]["accuracy"], color=MUTED, linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(facts)), ["ensemble", *names])
    axes.set_ylim(len(facts) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    label_axes(axes, "accuracy with 95 % interval", "")


def draw_overlap(axes: Axes, members: Mapping[str, Any], names: list[str]) -> None:
    """The matrix of shared errors; the diagonal, which is always 1, stays empty."""
    values = np.array([[np.nan if x is None else x for x in row] for row in members["error_overlap"]], dtype=float)
    np.fill_diagonal(values, np.nan)
    texts = [["" if np.isnan(x) or len(names) > WITH_TEXT else f"{x:.2f}" for x in row] for row in values]
    heatmap(axes, values, names, names, texts)
    slant = {"rotation": 90} if len(names) > 4 else {"rotation": 30, "ha": "right"}
    axes.set_xticks(range(len(names)), names, **slant)
    label_axes(axes, "rows both wrong / rows at least one wrong", "", "overlap of errors")
