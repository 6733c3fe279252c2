"""The figures of evaluate_oof, drawn only from the numbers in metrics.json and the training logs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.evaluation.answerers_figure import draw_answerers
from vqaflow.evaluation.member_figure import draw_members
from vqaflow.reporting.figures import MUTED, PALETTE, drawable, heatmap, label_axes, new_figure, save
from vqaflow.reporting.statistics import widest, wilson

FIGURES = ("accuracy", "members", "confusion", "position_bias", "reliability", "coverage", "agreement", "learning")
WITH_TEXT = 12  # matrices of more rows than these have no numbers in their cells
Metrics = Mapping[str, Any]


def figures_of(metrics: Metrics) -> tuple[str, ...]:
    """The names of the figures that go with metrics.json."""
    return (*FIGURES, "answerers") if "answerers" in metrics else FIGURES


def draw_all(metrics: Metrics, logs: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write one PNG per name of `figures_of` into `folder`; `logs` are the training logs by adapter."""
    draw_accuracy(metrics, folder / "accuracy.png")
    draw_members(metrics, folder / "members.png")
    draw_confusion(metrics, folder / "confusion.png")
    draw_position_bias(metrics, folder / "position_bias.png")
    draw_reliability(metrics, folder / "reliability.png")
    draw_coverage(metrics, folder / "coverage.png")
    draw_agreement(metrics, folder / "agreement.png")
    draw_learning(metrics, logs, folder / "learning.png")
    if "answerers" in metrics:
        draw_answerers(metrics, folder / "answerers.png")


def draw_accuracy(metrics: Metrics, path: Path) -> None:
    """Draw each accuracy with its Wilson interval and n, in groups."""
    groups = {
        "ensemble": {"all": metrics["overall"]},
        "question type": metrics["by_type"],
        "fold": metrics["by_fold"],
        "table": metrics.get("by_source", {}),
        "one view": metrics["by_view"],
    }
    rows = [(group, name, value) for group, values in groups.items() for name, value in values.items() if value["n"]]
    figure, axes = new_figure("OOF accuracy with 95 % intervals", size=(7.5, 1.3 + 0.27 * len(rows)))
    colors = dict(zip(groups, PALETTE, strict=False))
    for place, (group, _, value) in enumerate(rows):
        low, high = widest(value)
        axes.plot([low, high], [place, place], color=colors[group], linewidth=2)
        axes.plot(value["accuracy"], place, "o", color=colors[group], markersize=5)
        axes.text(
            1.01,
            place,
            f"{100 * value['accuracy']:.1f} %  n={value['n']:,}",
            va="center",
            size=8,
            transform=axes.get_yaxis_transform(),
        )
    axes.axvline(metrics["overall"]["accuracy"], color=MUTED, linewidth=0.8, zorder=0)
    axes.set_yticks(
        range(len(rows)), [f"{group}: {name}" if group != "ensemble" else "ensemble" for group, name, _ in rows]
    )
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    label_axes(axes, "accuracy", "")
    save(figure, path)


def letters_of(metrics: Metrics) -> tuple[str, ...]:
    """The letters of the choices."""
    return ALL_LETTERS[: len(metrics["confusion"])]


def draw_confusion(metrics: Metrics, path: Path) -> None:
    """Draw right letter by predicted letter, as counts and as shares of the right letter's rows."""
    counts, letters = np.array(metrics["confusion"]), letters_of(metrics)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    figure, axes = new_figure("Confusion of letters (OOF)", size=(0.8 + len(letters), 0.4 + len(letters)))
    heatmap(
        axes,
        shares,
        letters,
        letters,
        [[f"{n:,}\n{100 * s:.0f} %" for n, s in zip(*pair, strict=True)] for pair in zip(counts, shares, strict=True)],
    )
    label_axes(axes, "predicted letter", "right letter")
    save(figure, path)


def draw_position_bias(metrics: Metrics, path: Path) -> None:
    """Draw recall by letter after pooling, and by the position at which single passes saw the right choice."""
    bias, letters = metrics["position_bias"], letters_of(metrics)
    figure, (left, right) = new_figure(
        "Position bias: is a letter right more often than others?", 1, 2, (9, 3.8), sharey=True
    )
    recalls = bias["ensemble"]["recall"]
    left.bar(letters, [recall or 0 for recall in recalls], color=PALETTE[0], width=0.6)
    label_axes(left, "right letter", "recall", f"ensemble (RStd {percent(bias['ensemble']['rstd'])})")
    for color, (view, values) in zip(PALETTE, bias["views"].items(), strict=False):
        known = [np.nan if recall is None else recall for recall in values["recall"]]
        right.plot(letters, known, "o-", color=color, label=f"{view} (RStd {percent(values['rstd'])})")
    label_axes(right, "position of the right choice", "", "single orders, before pooling")
    if bias["views"]:
        right.legend(fontsize=8)
    left.set_ylim(0, 1)
    save(figure, path)


def percent(share: float | None) -> str:
    """A share in percent; a dash if it is not known."""
    return "–" if share is None else f"{100 * share:.1f} %"


def draw_reliability(metrics: Metrics, path: Path) -> None:
    """Draw accuracy by confidence bin (area: rows, bar: Wilson interval), before and after calibration."""
    calibration = metrics["calibration"]
    figure, panels = new_figure(f"Reliability (calibration: {calibration['method']})", 1, 2, (8.4, 4.2), sharey=True)
    for axes, name in zip(panels, ("before", "after"), strict=True):
        values = calibration[name]
        bins = values["reliability"]
        counts, accuracies = np.array(bins["n"]), np.array(bins["accuracy"])
        bounds = np.array([wilson(round(a * n), n) for a, n in zip(accuracies, counts, strict=True)])
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
        axes.vlines(bins["confidence"], bounds[:, 0], bounds[:, 1], color=PALETTE[0], alpha=0.5, linewidth=1)
        areas = 25 + 200 * np.sqrt(counts / counts.max())
        axes.scatter(
            bins["confidence"], accuracies, s=areas, color=PALETTE[0], alpha=0.7, linewidth=0, clip_on=False, zorder=3
        )
        axes.set(xlim=(0.8 / len(letters_of(metrics)), 1.02), ylim=(0, 1.02))
        scores = f"ECE {values['ece']:.3f} · Brier {values['brier']:.3f} · NLL {values['nll']:.3f}"
        label_axes(axes, "confidence", "accuracy" if name == "before" else "", f"{name}\n{scores}")
    save(figure, path)


def draw_coverage(metrics: Metrics, path: Path) -> None:
    """Draw how accurate the most confident rows are, and how accuracy grows with the margin."""
    figure, (left, right) = new_figure("Which answers can be trusted?", 1, 2, (9, 3.8))
    coverage, margin = metrics["coverage"], metrics["by_margin"]
    left.plot(coverage["coverage"], coverage["accuracy"], color=PALETTE[0])
    left.set_xlim(0, 1.02)
    label_axes(left, "share of rows answered, surest first", "accuracy on them", "coverage")
    filled = [entry for entry in margin if entry["n"]]
    centres = [(entry["low"] + entry["high"]) / 2 for entry in filled]
    accuracies = np.array([entry["accuracy"] for entry in filled])
    bounds = np.array([widest(entry) for entry in filled])
    right.bar(centres, accuracies, width=0.09, color=PALETTE[0])
    right.errorbar(
        centres, accuracies, np.abs(bounds.T - accuracies), fmt="none", ecolor="black", elinewidth=1, capsize=2
    )
    for centre, entry in zip(centres, filled, strict=True):
        right.text(centre, 0.015, f"{entry['n']:,}", ha="center", va="bottom", size=7, color="white", rotation=90)
    right.set(xlim=(0, 1), ylim=(0, 1.02))
    label_axes(right, "margin: best less second probability", "accuracy", "by margin (n in the bars)")
    save(figure, path)


def draw_agreement(metrics: Metrics, path: Path) -> None:
    """Draw how often views fail on the same rows and folds answer alike: only what differs gains by averaging."""
    views, folds = metrics["error_correlation"]["views"], metrics["error_correlation"]["folds"]
    one_member = folds is not None and "names" in folds
    count = max(len(views["names"]), len(folds["names"] if one_member else folds or []))
    side = 1.2 * min(count, WITH_TEXT) + 0.4 * max(0, count - WITH_TEXT)
    figure, (left, right) = new_figure("How much do the ensemble's parts differ?", 1, 2, (4 + side, 2 + side / 2))
    draw_matrix(left, views["names"], views["correlation"], "correlation of errors, OOF views")
    if one_member:
        draw_matrix(right, folds["names"], folds["agreement"], "same answer, test folds")
    elif folds:
        draw_fold_agreement(right, folds)
    else:
        right.text(0.5, 0.5, "no adapter", ha="center", transform=right.transAxes, color=MUTED)
    save(figure, path)


def draw_fold_agreement(axes: Axes, by_member: Mapping[str, Any]) -> None:
    """For each member, how often two of its folds' adapters, and all of them, answer test rows alike."""
    pairs = [mean_of_pairs(part["agreement"]) for part in by_member.values()]
    places = np.arange(len(by_member))
    axes.plot(pairs, places, "o", color=PALETTE[0], label="two folds (mean)")
    axes.plot([part["unanimous"] for part in by_member.values()], places, "s", color=PALETTE[1], label="all folds")
    axes.set_yticks(places, [drawable(name) for name in by_member])
    axes.set(xlim=(0, 1.02), ylim=(len(places) - 0.5, -0.5))
    axes.legend(fontsize=8)
    label_axes(axes, "share of test rows", "", "same answer, test folds")


def mean_of_pairs(matrix: Sequence[Sequence[float | None]]) -> float:
    """The mean beside the diagonal; NaN if nothing is known."""
    values = np.array([[np.nan if x is None else x for x in line] for line in matrix], dtype=float)
    beside = values[~np.eye(len(values), dtype=bool)]
    return float(np.nanmean(beside)) if np.isfinite(beside).any() else float("nan")


def draw_matrix(axes: Axes, names: Sequence[str], lines: Sequence[Sequence[float | None]], title: str) -> None:
    """A matrix with its numbers, if there are not too many."""
    values = np.array([[np.nan if x is None else x for x in line] for line in lines], dtype=float)
    empty = len(names) > WITH_TEXT
    texts = [["" if empty else "–" if np.isnan(x) else f"{x:.2f}" for x in line] for line in values]
    shown = [drawable(name) for name in names]
    heatmap(axes, values, shown, shown, texts)
    if len("".join(names)) > 8 * 6:
        axes.tick_params(axis="x", rotation=90)
    axes.set_title(title)


def draw_learning(metrics: Metrics, logs: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Draw training loss and validation accuracy at each measurement, and mark the epoch whose weights were kept."""
    figure, (left, right) = new_figure("Learning curves", 1, 2, (9, 3.8))
    colors: dict[str, str] = {}
    for name, history in logs.items():
        label = name.rpartition("/")[0] or name  # several members: one colour each
        first, color = label not in colors, colors.setdefault(label, PALETTE[len(colors) % len(PALETTE)])
        style = {"color": color, "markersize": 3, "label": drawable(label) if first else None}
        left.plot(history["step"], history["loss"], "o-", **style)
        measured = history.dropna(subset="val_accuracy")
        right.plot(measured["step"], measured["val_accuracy"], "o-", **style)
        kept = metrics["learning"][name]["kept_step"]
        for axes, curve, column in ((left, history, "loss"), (right, measured, "val_accuracy")):
            at = curve[curve["step"] == kept]
            axes.plot(at["step"], at[column], "*", color=color, markersize=13, markeredgecolor="black", zorder=4)
    for axes in (left, right):
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(left, "optimiser step", "training loss", "loss on training rows (mean since the epoch began)")
    label_axes(right, "optimiser step", "validation accuracy", "accuracy on the fold's own OOF rows (star: kept epoch)")
    if logs:
        left.legend(fontsize=8)
    else:
        left.text(0.5, 0.5, "no training log", ha="center", transform=left.transAxes, color=MUTED)
    save(figure, path)
