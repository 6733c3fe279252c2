"""The training curve, a figure beside the adapter."""

from pathlib import Path

import pandas as pd

from vqaflow.reporting.figures import MUTED, label_axes, new_figure, save

NOT_IN_DIGESTS = True  # a figure beside the adapter, drawn from log.csv


def kept_epoch(history: pd.DataFrame, keep: str) -> float:
    """The epoch whose weights `train.keep` keeps: the last, or the first with the best accuracy on held-out rows."""
    best = keep == "best" and "val_accuracy" in history and history["val_accuracy"].notna().any()
    return float(history["epoch"].loc[history["val_accuracy"].idxmax()] if best else history["epoch"].iloc[-1])


def draw_curve(history: pd.DataFrame, path: Path, keep: str) -> None:
    """Loss and accuracies over the epochs; the epoch that is kept is marked."""
    figure, (left, right) = new_figure("Training", 1, 2, (9, 3.8))
    left.plot(history["epoch"], history["loss"], marker="o")
    label_axes(left, "epoch", "training loss")
    right.plot(history["epoch"], history["accuracy"], marker="o", label="training rows")
    if "val_accuracy" in history:
        right.plot(history["epoch"], history["val_accuracy"], marker="o", label="held-out rows")
    epoch = kept_epoch(history, keep)
    for axes in (left, right):
        axes.axvline(epoch, color=MUTED, linestyle="--", zorder=0, label=f"kept: epoch {epoch:.3g} (keep: {keep})")
    label_axes(right, "epoch", "accuracy")
    right.legend()
    save(figure, path)
