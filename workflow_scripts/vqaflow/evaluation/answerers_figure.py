"""The figure of the ensemble against several people's answers, drawn from metrics.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from vqaflow.reporting.agreement import in_order
from vqaflow.reporting.figures import PALETTE, drawable, label_axes, new_figure, save

MARKS = {"ensemble": ("o", PALETTE[0]), "one person": ("s", PALETTE[1]), "best possible": ("|", "black")}


def draw_answerers(metrics: Mapping[str, Any], path: Path) -> None:
    """By type and level of agreement: agreement with single answers, of the ensemble, one person, and at best."""
    found = metrics["answerers"]
    types = {"all": found} | found["by_type"]
    by_level = {level: found["by_level"][level] for level in in_order(set(found["by_level"]))}
    height = 2.2 + 0.34 * max(len(types), len(by_level))
    figure, (left, right) = new_figure("Against several people's answers (OOF)", 1, 2, (10, height), sharex=True)
    draw_parts(left, types, "by question type")
    draw_parts(right, by_level, "by how many people agree")
    left.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)
    save(figure, path)


def draw_parts(axes: Axes, parts: Mapping[str, Any], title: str) -> None:
    """One line for each part, with n."""
    for place, part in enumerate(parts.values()):
        values = part["expected_accuracy"], part["one_person"], {"value": part["best_possible"]}
        for shift, (name, value) in enumerate(zip(MARKS, values, strict=True)):
            mark, color = MARKS[name]
            label = name if place == 0 else None
            axes.plot(value["value"], place + 0.16 * (shift - 1), mark, color=color, markersize=6, label=label)
            if interval := value.get("bootstrap"):
                axes.plot(interval, 2 * [place + 0.16 * (shift - 1)], color=color, linewidth=1.5)
        text = f"n={part['n']:,}"
        axes.text(1.01, place, text, va="center", size=8, transform=axes.get_yaxis_transform())
    axes.set_yticks(range(len(parts)), [drawable(name) for name in parts])
    axes.set(xlim=(0, 1.02), ylim=(len(parts) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    label_axes(axes, "share of single answers that agree", "", title)
