"""The training curve, a figure beside the adapter."""

from pathlib import Path

import pandas as pd

from vqaflow.reporting.figures import label_axes, new_figure, save

NOT_IN_DIGESTS = True  # a figure beside the adapter, drawn from log.csv


def draw_curve(history: pd.DataFrame, path: Path) -> None:
    """Loss and accuracies over the epochs."""
    figure, (left, right) = new_figure("Training", 1, 2, (9, 3.8))
    left.plot(history["epoch"], history["loss"], marker="o")
    label_axes(left, "epoch", "training loss")
    right.plot(history["epoch"], history["accuracy"], marker="o", label="training rows")
    if "val_accuracy" in history:
        right.plot(history["epoch"], history["val_accuracy"], marker="o", label="held-out rows")
    label_axes(right, "epoch", "accuracy")
    right.legend()
    save(figure, path)
