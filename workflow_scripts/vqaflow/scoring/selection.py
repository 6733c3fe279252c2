"""Which rows a view scores.

Shapes: N rows, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.parts import fold_of
from vqaflow.artifacts.reading import read_table, require_file
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.artifacts.score_files import ORIGINAL, Logits, ScoreFile, read_logits, row_index
from vqaflow.config.sections import WHEN, ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.data.images.visual_tokens import base_file, json_object, token_pixels, visual_grids
from vqaflow.model.checkpoint import family_in, unloadable
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import family_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log
from vqaflow.scoring.order_pooling import pool_orders

Limits = tuple[int, int]  # the smallest and largest image area in pixels


@dataclass(frozen=True)
class Task:
    """What to score and how: a view by its `name`, and all that its scores depend on except rows and adapter.

    `orders` is what the configuration says of them; the table's letters make them those that are shown.
    """

    name: str
    model: ModelConfig
    prompt: PromptConfig
    view: ViewConfig
    orders: str | int

    @classmethod
    def of(
        cls,
        name: str,
        model: Mapping[str, Any],
        prompt: Mapping[str, Any],
        view: Mapping[str, Any],
        orders: str | int,
    ) -> "Task":
        """The sections as they stand in the configuration; `view` is the entry of `views` called `name`."""
        return cls(name, section(ModelConfig, model), section(PromptConfig, prompt), section(ViewConfig, view), orders)

    def shown(self, letters: Sequence[str]) -> tuple[str, ...]:
        """The choice orders of a table with these letters. Raises UserError if there are too few or too many."""
        return tuple(scoring_orders(self.orders, letters))


@dataclass(frozen=True)
class RowsToScore:
    """The rows of `table` that the adapter of `part` has not seen, by the file `folds`; all usable ones if it is None.

    `margins_from` is the file of the original view's scores, which a view with `when` needs.
    """

    table: Path
    folds: Path | None
    part: str
    margins_from: Path | None = None


def select_rows(given: RowsToScore, task: Task) -> list[Row]:
    """The rows that a view scores, in the table's order. Raises UserError if a file is missing or damaged."""
    table, view = read_table(given.table, "validate_tables"), task.view
    mine = table[table["usable"]]
    if given.folds is not None:
        assigned = read_table(given.folds, "make_folds", ["id", "fold"])
        ids = set(assigned.loc[assigned["fold"] == fold_of(given.part), "id"])
        if missing := ids - set(table["id"]):
            raise UserError(f"{given.folds}: id {min(missing)!r} is not in the table. Run rule make_folds again.")
        mine = mine[mine["id"].isin(ids)]
    rows = mine
    if view.flip:
        rows = rows[~rows["flip_unsafe"]]
    elif (view.min_pixels, view.max_pixels) != (None, None):
        rows = rows[_is_resized(rows, task.model, view)]
    if view.when is not None:
        limit = margin_limit(task.name, view.when)
        margins = _margins(given, task, mine["id"].tolist())
        rows = rows[margins[rows["id"]].to_numpy() < limit]
    return rows_of(rows)


def _margins(given: RowsToScore, task: Task, ids: list[str]) -> pd.Series:
    """The original view's margin of each of `ids`."""
    if given.margins_from is None:
        what = f"config views.{task.name}.when: it needs the original view's scores"
        raise UserError(f"{what}. Keep the view `original`.")
    require_file(given.margins_from, "score_choices")
    logits = read_logits(ScoreFile("", "", given.part, ORIGINAL, given.margins_from), row_index(ids))
    return pd.Series(margins_of(logits), ids)


def _is_resized(rows: pd.DataFrame, model: ModelConfig, view: ViewConfig) -> np.ndarray:
    """Whether a view changes the size of each row's image from the original view: equal ones would count twice."""
    limits = model.min_pixels, model.max_pixels
    others = view.min_pixels or model.min_pixels, view.max_pixels or model.max_pixels
    family, sizes = _family(model), [rows[side].to_numpy(np.int64) for side in ("width", "height")]
    if family.prefix == "separate":
        changed = (sizes[0] > 0) & _is_changed(sizes[0] * sizes[1], model, family, limits, others)
    else:
        side = token_pixels(model.base, model.revision)
        grids, resized = (visual_grids(*sizes, side, *pixels) for pixels in (limits, others))
        changed = np.array([one != other for one, other in zip(grids, resized, strict=True)], dtype=bool)
    if not changed.all():
        log.info("%d rows are left out: their images are as large as in the original view", (~changed).sum())
    return changed


def _family(model: ModelConfig) -> Family:
    """The base's family, from the config.json on this machine; where there is none, the hub is asked."""
    kind = json_object(base_file(model.base, model.revision, "config.json")).get("model_type")
    return family_of(kind) if isinstance(kind, str) else family_in(model)


def _is_changed(areas_N: np.ndarray, model: ModelConfig, family: Family, limits: Limits, others: Limits) -> np.ndarray:
    """Whether `others` instead of `limits` change images of these areas, in a family that resizes in its own way.

    Its image options say so for all images together. Images of unknown families are only shrunk to the largest area.
    """
    if family.image_options is None:
        return np.minimum(areas_N, limits[1]) != np.minimum(areas_N, others[1])
    processor = _image_processor(model)
    one, other = (family.image_options(processor, *pixels) for pixels in (limits, others))
    return np.full(len(areas_N), one != other)


def _image_processor(model: ModelConfig) -> Any:
    """The base's image processor. Raises UserError if it cannot be loaded."""
    from transformers import AutoImageProcessor  # loads torch

    try:
        return AutoImageProcessor.from_pretrained(model.base, revision=model.revision)
    except Exception as error:  # the library raises whatever a broken file causes
        raise unloadable(model, error) from error


def margin_limit(name: str, when: str) -> float:
    """The number x of a view's condition ``margin < x``."""
    match = WHEN.fullmatch(when)
    if match is None:
        raise UserError(f"config views.{name}.when: {when!r} is not a condition. Write `margin < x`, x from 0 to 1.")
    return float(match[1])


def margins_of(logits: Logits) -> np.ndarray:
    """Each row's margin (N): the best probability minus the second best, pooled over orders by their geometric mean.

    A row without scores has none (NaN).
    """
    best_NC = np.sort(np.exp(pool_orders(logits, "geometric")), axis=1)
    return best_NC[:, -1] - best_NC[:, -2]
