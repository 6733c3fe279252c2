"""The scores of all views and folds as log-probabilities.

Shapes: N rows, V views, C = 4 choices.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.score_files import ScoreFile, check_complete, read_logits, row_index, views_of
from vqaflow.ensemble.pooling import POOLS, pool_folds
from vqaflow.ensemble.recipes import Fitted, Oof, Priors, Recipe
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log
from vqaflow.scoring.order_pooling import ORDER_POOLINGS, pool_orders, position_prior


def oof_rows(train: Path, folds: Path, files: Sequence[ScoreFile]) -> pl.DataFrame:
    """The id, answer (0 to 3), fold and group of every training row, in the table's order."""
    table = pl.read_parquet(train, columns=["id", "answer"])
    assigned = pl.read_parquet(folds, columns=["id", "fold", "group"])
    if alone := sorted(set(table["id"]) ^ set(assigned["id"])):
        raise UserError(
            f"{folds}: rows {some(alone)} are only in this file or only in {train}. Run the rule make_folds again."
        )
    if missing := sorted(set(assigned["fold"]) - {f.fold for f in files}):
        raise UserError(f"scores/oof/fold{missing[0]}: it has no scores. Run the rule score_choices for this fold.")
    letters = {letter: number for number, letter in enumerate(LETTERS)}
    return table.join(assigned, on="id", how="left", maintain_order="left").with_columns(
        pl.col("answer").replace_strict(letters, return_dtype=pl.Int64)
    )


def read_oof(rows: pl.DataFrame, files: Sequence[ScoreFile]) -> tuple[Oof, Priors]:
    """The OOF log-probabilities in each order pooling, and each file's position prior (estimated without labels)."""
    views = views_of(files)
    logp = {how: np.full((len(rows), len(views), len(LETTERS)), np.nan) for how in ORDER_POOLINGS}
    priors: Priors = {}
    for fold in sorted({f.fold for f in files}):
        mine = np.flatnonzero(rows["fold"].to_numpy() == fold)
        index = row_index(rows["id"].gather(mine))
        here = [f for f in files if f.split == "oof" and f.fold == fold]
        loaded = [read_logits(file, index) for file in here]
        check_complete(here, [logits.present_N for logits in loaded], index)
        for file, logits in zip(here, loaded, strict=True):
            prior = position_prior(logits)
            if logits.present_N.any():
                priors[fold, file.view] = prior
            for how in ORDER_POOLINGS if prior is not None else ORDER_POOLINGS[:2]:
                logp[how][mine, views.index(file.view)] = pool_orders(logits, how, prior)
    return Oof(logp, rows["answer"].to_numpy(), rows["group"].to_numpy()), priors


def pool_test(table: pl.DataFrame, files: Sequence[ScoreFile], priors: Priors, fitted: Fitted) -> np.ndarray:
    """Calibrated probabilities (N, C) of all test rows; only one fold's scores are in memory at a time."""
    usable_N = table["usable"].to_numpy()
    index = row_index(table["id"].filter(table["usable"]))
    probabilities_NC = np.full((len(table), len(LETTERS)), 1 / len(LETTERS))
    if unusable := int((~usable_N).sum()):
        log.warning("%d test rows are unusable and get equal probabilities (see problems.csv)", unusable)
    if not usable_N.any():
        return probabilities_NC
    by_place = {(f.fold, f.view): f for f in files if f.split == "test"}
    with ProgressBar(len(by_place), "pool", unit="file") as bar:

        def pooled_folds() -> Iterator[np.ndarray]:
            for fold in sorted({fold for fold, _ in by_place}):
                of_fold = [by_place.get((fold, view)) for view in views_of(files)]
                yield fitted.pool(fold_log_probabilities(of_fold, index, priors, fitted.recipe, bar))

        pooled_NC = pool_folds(pooled_folds(), POOLS[fitted.recipe.pooling])
    probabilities_NC[usable_N] = fitted.calibrate(pooled_NC)
    return probabilities_NC


def fold_log_probabilities(
    files: Sequence[ScoreFile | None], index: pl.DataFrame, priors: Priors, recipe: Recipe, bar: ProgressBar
) -> np.ndarray:
    """One fold's test scores by view (N, V, C); `files` has one file per view, or None if the fold lacks the view."""
    logp_NVC = np.full((len(index), len(files), len(LETTERS)), np.nan)
    present = []
    for position, file in enumerate(files):
        if file is not None:
            logits = read_logits(file, index)
            prior = priors.get((file.fold, file.view))
            if prior is None and recipe.order_pooling == "prior":
                prior = position_prior(logits)  # the view has no OOF row here; a prior needs no labels
            logp_NVC[:, position] = pool_orders(logits, recipe.order_pooling, prior)
            present.append(logits.present_N)
            bar.advance()
    check_complete([file for file in files if file is not None], present, index)
    return logp_NVC
