"""Which rows a view scores.

Shapes: N rows, C choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.parts import ORIGINAL, fold_of
from vqaflow.artifacts.reading import read_table, require_file
from vqaflow.artifacts.rows import Row, rows_of
from vqaflow.artifacts.score_files import Logits, ScoreFile, read_logits, row_index
from vqaflow.config.sections import WHEN, Limits, ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.data.images.pictures import pictures_of
from vqaflow.data.images.visual_tokens import base_file, json_object, token_pixels, visual_grids
from vqaflow.model.checkpoint import family_in, unloadable
from vqaflow.model.encoding.orders import scoring_orders
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import family_of
from vqaflow.model.hub import source_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log
from vqaflow.scoring.order_pooling import pool_orders


@dataclass(frozen=True)
class Task:
    """What to score and how: a view by its `name`, and all that its scores depend on except rows and adapter.

    `orders` is what the configuration says of them; the table's letters make them those that are shown. The main view
    has every row (`is_main`). If it is the original one (`beside_original`), other views leave out images that they
    show alike.
    """

    name: str
    model: ModelConfig
    prompt: PromptConfig
    view: ViewConfig
    orders: str | int
    is_main: bool = False
    beside_original: bool = True

    @classmethod
    def of(
        cls,
        name: str,
        model: Mapping[str, Any],
        prompt: Mapping[str, Any],
        view: Mapping[str, Any],
        orders: str | int,
        main: str = ORIGINAL,
    ) -> "Task":
        """The sections as they stand in the configuration; `view` is the entry of `views` called `name`.

        The view called `main` has every row.
        """
        sections = section(ModelConfig, model), section(PromptConfig, prompt), section(ViewConfig, view)
        return cls(name, *sections, orders, name == main, main == ORIGINAL)

    def shown(self, letters: Sequence[str]) -> tuple[str, ...]:
        """The choice orders of a table with these letters. Raises UserError if there are too few or too many."""
        return tuple(scoring_orders(self.orders, letters))


@dataclass(frozen=True)
class RowsToScore:
    """The rows of `table` that the adapter of `part` has not seen, by the file `folds`; all if it is None.

    `margins_from` is the file of the main view's scores, which a view with `when` needs. `trained_folds` is the file of
    folds by which the adapter of a fold must have been trained, also where it scores test rows.
    """

    table: Path
    folds: Path | None
    part: str
    margins_from: Path | None = None
    trained_folds: Path | None = None

    def held_out(self) -> set[str]:
        """The ids of the rows that the adapter must not have seen; none if it was trained on all rows."""
        folds = self.trained_folds or self.folds
        return _ids_of_fold(folds, self.part) if folds else set()


def select_rows(given: RowsToScore, task: Task) -> list[Row]:
    """The rows that a view scores, in the table's order. Raises UserError if a file is missing or damaged.

    Unusable rows are in the main view only, which asks those without an image by question and choices alone.
    """
    table, view = read_table(given.table, "validate_tables"), task.view
    mine = table
    if given.folds is not None:
        ids = _ids_of_fold(given.folds, given.part)
        if missing := ids - set(table["id"]):
            raise UserError(f"{given.folds}: id {min(missing)!r} is not in the table. Run rule make_folds again.")
        mine = mine[mine["id"].isin(ids)]
    if task.is_main:
        if imageless := int((mine["width"] == 0).sum()):
            what = "rows have no usable image: they are asked by question and choices alone"
            log.info("%d of %d %s (see problems.csv)", imageless, len(mine), what)  # ensemble_probabilities warns once
        return rows_of(mine)
    rows = mine[mine["usable"]]
    if view.flip:
        rows = rows[~rows["flip_unsafe"]]
    elif task.beside_original and not view.read and _shows_otherwise(view):
        rows = rows[_is_changed(rows, task.model, view)]
    if view.when is not None:
        limit = margin_limit(task.name, view.when)
        margins = _margins(given, task, mine["id"].tolist())
        rows = rows[margins[rows["id"]].to_numpy() < limit]
    return rows_of(rows)


def _ids_of_fold(folds: Path, part: str) -> set[str]:
    assigned = read_table(folds, "make_folds", ["id", "fold"])
    return set(assigned.loc[assigned["fold"] == fold_of(part), "id"])


def _margins(given: RowsToScore, task: Task, ids: list[str]) -> pd.Series:
    """The main view's margin of each of `ids`."""
    if given.margins_from is None:
        what = f"config views.{task.name}.when: it needs the main view's scores"
        raise UserError(f"{what}. Keep the view that train.view names.")
    require_file(given.margins_from, "score_choices")
    logits = read_logits(ScoreFile("", "", given.part, ORIGINAL, given.margins_from), row_index(ids))
    return pd.Series(margins_of(logits), ids)


def _shows_otherwise(view: ViewConfig) -> bool:
    """Whether a view has a resolution of its own, or cuts images."""
    return {view.min_pixels, view.max_pixels, view.tiles, view.pixels} != {None}


def _is_changed(rows: pd.DataFrame, model: ModelConfig, view: ViewConfig) -> np.ndarray:
    """Whether a view shows something else of each row's image than the original view: equal ones would count twice."""
    limits, others = model.limits, view.limits(model.limits)
    sizes = [rows[side].to_numpy(np.int64) for side in ("width", "height")]
    cut = np.array([len(pictures_of(*size, view)) > 1 for size in zip(*sizes, strict=True)], dtype=bool)
    decided = cut.all() or (view.tiles and limits == others)
    changed = cut if decided else cut | _is_resized(sizes, model, limits, others)
    if not changed.all():
        log.info("%d rows are left out: their images look as in the original view", (~changed).sum())
    return changed


def _is_resized(sizes: Sequence[np.ndarray], model: ModelConfig, limits: Limits, others: Limits) -> np.ndarray:
    """Whether `others` instead of `limits` change the sizes (widths, heights) at which images are shown."""
    family = _family(model)
    if family.prefix == "separate":
        return (sizes[0] > 0) & _is_fitted_otherwise(sizes[0] * sizes[1], model, family, limits, others)
    side = token_pixels(model.base, model.revision)
    grids, resized = (visual_grids(*sizes, side, *pixels) for pixels in (limits, others))
    return np.array([one != other for one, other in zip(grids, resized, strict=True)], dtype=bool)


def _family(model: ModelConfig) -> Family:
    """The base's family, from the config.json on this machine; where there is none, the hub is asked."""
    kind = json_object(base_file(model.base, model.revision, "config.json")).get("model_type")
    return family_of(kind) if isinstance(kind, str) else family_in(model)


def _is_fitted_otherwise(
    areas_N: np.ndarray, model: ModelConfig, family: Family, limits: Limits, others: Limits
) -> np.ndarray:
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
        return AutoImageProcessor.from_pretrained(model.base, **source_of(model))
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
