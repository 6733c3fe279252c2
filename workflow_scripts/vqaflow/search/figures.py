"""The figures of a hyper-parameter search, in the style of all others: equal trials give equal bytes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import optuna
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from vqaflow.reporting.figures import MUTED, PALETTE, label_axes, new_figure, save
from vqaflow.reporting.statistics import wilson

PANELS_A_ROW = 4
COLORS = "viridis"
LABEL_BOX = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.8}  # lines run under the labels
Trials = Sequence[FrozenTrial]


def draw_search(trials: Trials, best: FrozenTrial, saw: Sequence[Mapping[str, int]], folder: Path) -> None:
    """Write history, importance, parallel_coordinates and slice as PNG into `folder`.

    `trials` are the counted ones; `saw` has the numbers of rows that they saw per fold (`Fold.described`).
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    draw_history(trials, best, saw, folder / "history.png")
    draw_importance(complete, folder / "importance.png")
    draw_parallel_coordinates(complete, best, folder / "parallel_coordinates.png")
    draw_slice(complete, best, folder / "slice.png")


def draw_history(trials: Trials, best: FrozenTrial, saw: Sequence[Mapping[str, int]], path: Path) -> None:
    """Accuracy by trial with its Wilson interval, the best so far, and where pruned trials ended."""
    figure, axes = new_figure("Search history")
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    numbers = [trial.number for trial in complete]
    values = [trial.value for trial in complete]
    bounds = np.array([wilson(trial.user_attrs["right"], trial.user_attrs["n"]) for trial in complete]).T
    axes.vlines(numbers, *bounds, color=MUTED, linewidth=1, label="95 % interval")
    axes.plot(numbers, values, "o", color=PALETTE[0], label="complete")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=PALETTE[2], label="best so far")
    measured = [trial for trial in trials if trial.state is TrialState.PRUNED and trial.intermediate_values]
    if measured:
        ends = [trial.intermediate_values[trial.last_step] for trial in measured]
        axes.plot([trial.number for trial in measured], ends, "x", color=PALETTE[3], label="pruned, at its end")
    axes.plot(best.number, best.value, "*", color=PALETTE[1], markersize=13, label="best")
    axes.xaxis.get_major_locator().set_params(integer=True)
    caption = "fold {fold}: trained on {training_rows} of {of} rows, measured on {held_out_rows}"
    label_axes(axes, "trial", "validation accuracy", "\n".join(caption.format(**fold) for fold in saw))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5, fontsize=8)
    save(figure, path)


def draw_importance(complete: Trials, path: Path) -> None:
    """Share of the differences in accuracy that each parameter explains."""
    figure, axes = new_figure("Importance of the parameters")
    shares = importances(complete)
    if shares:
        names = sorted(shares, key=shares.get)
        axes.barh(names, [shares[name] for name in names])
        axes.grid(axis="y", visible=False)
    else:
        axes.text(0.5, 0.5, "too few trials, or all alike", ha="center", transform=axes.transAxes)
    label_axes(axes, "share of the variance (fANOVA)", "")
    save(figure, path)


def importances(complete: Trials) -> dict[str, float]:
    """Importance by parameter, summing to 1 (functional ANOVA; Hutter et al. 2014); empty if all values are equal."""
    if len({trial.value for trial in complete}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    return optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def draw_parallel_coordinates(complete: Trials, best: FrozenTrial, path: Path) -> None:
    """One line per trial across its parameters, one axis per parameter, coloured by accuracy."""
    keys = list(best.params)
    figure, axes = new_figure("Parameters and accuracy", size=(max(7.5, 1.1 * len(keys)), 4.6))
    scale = color_scale(complete)
    for trial in sorted(complete, key=lambda trial: trial.value):
        heights = [position(trial.params[key], trial.distributions[key]) for key in keys]
        width = 2.5 if trial.number == best.number else 1
        axes.plot(
            range(len(keys)), heights, color=scale.to_rgba(trial.value), linewidth=width, marker="o", markersize=3
        )
    for place, key in enumerate(keys):
        for value, height in ticks(best.distributions[key]):
            axes.text(place + 0.06, height, value, fontsize=7, va="center", bbox=LABEL_BOX, zorder=3)
    axes.set_xticks(range(len(keys)), keys, rotation=30, ha="right")
    axes.set_yticks([])
    axes.grid(axis="x", color=MUTED)
    figure.colorbar(scale, ax=axes, label="validation accuracy")
    save(figure, path)


def draw_slice(complete: Trials, best: FrozenTrial, path: Path) -> None:
    """Accuracy over each parameter; the colour shows how late a trial was."""
    keys = list(best.params)
    columns = min(PANELS_A_ROW, len(keys))
    rows = math.ceil(len(keys) / columns)
    figure, panels = new_figure(
        "Accuracy by parameter", rows, columns, (2.6 * columns + 0.8, 2.5 * rows + 0.4), sharey=True, squeeze=False
    )
    numbers = [trial.number for trial in complete]
    colors = ScalarMappable(Normalize(min(numbers), max(numbers)), matplotlib.colormaps[COLORS])
    for axes, key in zip(panels.flat, keys, strict=False):
        distribution = best.distributions[key]
        at = [position(trial.params[key], distribution) for trial in complete]
        axes.scatter(at, [trial.value for trial in complete], c=colors.to_rgba(numbers), s=22)
        axes.plot(position(best.params[key], distribution), best.value, "*", color=PALETTE[1], markersize=12)
        shown = ticks(distribution)
        axes.set_xticks([height for _, height in shown], [value for value, _ in shown], fontsize=8)
        axes.set_xlim(-0.08, 1.08)
        label_axes(axes, key, "accuracy" if axes in panels[:, 0] else "")
    for axes in panels.flat[len(keys) :]:
        axes.set_visible(False)
    figure.colorbar(colors, ax=panels, label="trial", shrink=0.6, ticks=MaxNLocator(integer=True))
    save(figure, path)


def color_scale(complete: Trials) -> ScalarMappable:
    """Colours for the range of accuracies."""
    values = [trial.value for trial in complete]
    return ScalarMappable(Normalize(min(values), max(values)), matplotlib.colormaps[COLORS])


def position(value: Any, distribution: BaseDistribution) -> float:
    """Where a value lies on an axis from 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value) / max(1, len(distribution.choices) - 1)
    if distribution.single():
        return 0.0
    scale = math.log if distribution.log else float
    low, high = scale(distribution.low), scale(distribution.high)
    return (scale(value) - low) / (high - low)


def ticks(distribution: BaseDistribution) -> list[tuple[str, float]]:
    """Labels and their places: all choices, or the two ends and the middle of a range."""
    if isinstance(distribution, CategoricalDistribution):
        return [(str(choice), position(choice, distribution)) for choice in distribution.choices]
    if distribution.single():
        return [(f"{distribution.low:g}", 0.0)]
    low, high = distribution.low, distribution.high
    middle = math.sqrt(low * high) if distribution.log else (low + high) / 2
    return [(f"{low:g}", 0.0), (f"{middle:.3g}", position(middle, distribution)), (f"{high:g}", 1.0)]
