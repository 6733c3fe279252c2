"""Which rows a view scores."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vqaflow.artifacts.reading import read_table, require_file
from vqaflow.artifacts.score_files import ORIGINAL, Logits, ScoreFile, read_logits, row_index
from vqaflow.config.sections import WHEN, ModelConfig, PromptConfig, ViewConfig
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log
from vqaflow.scoring.order_pooling import pool_orders


@dataclass(frozen=True)
class Task:
    """What is scored how; everything that the scores depend on but the rows and the adapter's weights."""

    model: ModelConfig
    prompt: PromptConfig
    view: ViewConfig
    orders: tuple[str, ...]


def select_rows(
    table: pd.DataFrame, folds: Path | None, fold: int, name: str, task: Task, margins_from: Path | None
) -> pd.DataFrame:
    """The rows that a view scores, in the table's order. Raises UserError if folds or margins cannot be read."""
    rows, view = table[table["usable"]], task.view
    if folds is not None:
        assigned = read_table(folds, "make_folds", ["id", "fold"])
        ids = set(assigned.loc[assigned["fold"] == fold, "id"])
        if missing := ids - set(table["id"]):
            raise UserError(
                f"{folds}: id {min(missing)!r} is not in the table. Make the folds again (rule make_folds)."
            )
        rows = rows[rows["id"].isin(ids)]
    mine = rows
    if view.flip:
        rows = rows[~rows["flip_unsafe"]]
    elif (view.min_pixels, view.max_pixels) != (None, None):
        rows = rows[_is_resized(rows, task.model, view)]
    if view.when is None:
        return rows
    limit = margin_limit(name, view.when)
    if margins_from is None:
        raise UserError(f"config views.{name}.when: it needs the original view's scores. Keep the view `original`.")
    require_file(margins_from, "score_choices")
    logits = read_logits(ScoreFile("", fold, ORIGINAL, margins_from), row_index(mine["id"].tolist()))
    margins = pd.Series(margins_of(logits), mine["id"])
    return rows[rows["id"].map(margins).to_numpy() < limit]


def _is_resized(rows: pd.DataFrame, model: ModelConfig, view: ViewConfig) -> np.ndarray:
    """Whether a view shows each row's image in another size than the original view: equal ones would count twice."""
    from vqaflow.data.images.visual_tokens import visual_grids  # loads torch, which most views need not wait for

    limits = model.min_pixels, model.max_pixels
    others = view.min_pixels or model.min_pixels, view.max_pixels or model.max_pixels
    grids, resized = (visual_grids(rows["width"], rows["height"], *pixels) for pixels in (limits, others))
    changed = np.array([one != other for one, other in zip(grids, resized, strict=True)], dtype=bool)
    if not changed.all():
        log.info("%d rows are left out: the view shows their images in the original's size", (~changed).sum())
    return changed


def margin_limit(name: str, when: str) -> float:
    """The number x of a view's condition ``margin < x``."""
    match = WHEN.fullmatch(when)
    if match is None:
        raise UserError(f"config views.{name}.when: {when!r} is no condition. Write `margin < x` with x from 0 to 1.")
    return float(match[1])


def margins_of(logits: Logits) -> np.ndarray:
    """Each row's margin (N): the best probability less the second best, pooled over orders by their geometric mean.

    A row without scores has none (NaN).
    """
    best_NC = np.sort(np.exp(pool_orders(logits, "geometric")), axis=1)
    return best_NC[:, -1] - best_NC[:, -2]
