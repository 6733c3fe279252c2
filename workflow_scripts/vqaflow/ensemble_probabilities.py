"""Rule ensemble_probabilities: from all scores to one calibrated probability a choice, for OOF and test rows.

`python -m vqaflow.ensemble_probabilities --help` runs it by hand.
"""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts import require_file
from vqaflow.calibration import CALIBRATIONS
from vqaflow.config import LETTERS, EnsembleConfig, checked_config, section
from vqaflow.errors import UserError
from vqaflow.files import atomic_path, write_json
from vqaflow.pooling import ORDER_POOLINGS, POOLS, pool_folds, pool_orders, position_prior
from vqaflow.progress import ProgressBar, log, stage
from vqaflow.recipes import Fitted, Nested, Oof, Procedure, Recipe, candidate_table, candidates, fit, hits, nested
from vqaflow.score_files import ScoreFile, check_complete, read_logits, row_index, score_files, some, views_of
from vqaflow.statistics import accuracy_summary, calibration_summary, paired_summary

PROBABILITIES = [f"p_{letter}" for letter in LETTERS]
Priors = dict[tuple[int, str], np.ndarray | None]  # by (fold, view)


def ensemble_probabilities(
    *,
    scores: Sequence[Path],
    train: Path,
    test: Path,
    folds: Path,
    ensemble: Mapping[str, Any],
    oof_out: Path,
    test_out: Path,
    recipe_out: Path,
) -> None:
    """Pool and calibrate `scores`; `train` and `test` are the tables, `ensemble` the config's section.

    The OOF file holds the held-out predictions of the nested cross-validation; test rows get the recipe that is fitted
    on all OOF rows, and equal probabilities where they are unusable.
    """
    settings = section(EnsembleConfig, ensemble)
    check_names(settings)
    for path, rule in ((train, "validate_tables"), (test, "validate_tables"), (folds, "make_folds")):
        require_file(path, rule)
    files = score_files(scores)
    rows = oof_rows(train, folds, files)
    oof, priors = read_oof(rows, files)
    every = all_candidates(settings, priors, oof)
    chosen_from = every if settings.recipe == "auto" else (wanted(settings, every),)
    procedure = Procedure(chosen_from, settings.calibration, settings.seed)
    held_out = nested(procedure, oof)
    fitted, choice = fit(procedure, oof, np.arange(len(rows)))
    log.info("recipe %s: %s", fitted.recipe.name, choice.reason)
    table = pl.read_parquet(test, columns=["id", "usable"])
    probabilities_NC = pool_test(table, files, priors, fitted)
    right = hits(every, oof, settings.seed) if len(chosen_from) == 1 else choice.right
    report = {
        "recipe": settings.recipe,
        "reason": choice.reason,
        "candidates": candidate_table(right, every[0], oof, settings.seed),
        "nested": nested_summary(held_out, right[every[0]], oof, settings.seed),
        "calibration": calibration_report(fitted, held_out, oof),
        "test": test_summary(table),
    }
    write_probabilities(rows["id"], held_out.calibrated_NC, oof_out, fold=rows["fold"])
    write_probabilities(table["id"], probabilities_NC, test_out)
    write_json(recipe_out, report | recipe_summary(every[0], fitted, files, priors))


def check_names(settings: EnsembleConfig) -> None:
    """Refuse unknown methods, naming the nearest known one."""
    known = {"order_pooling": ORDER_POOLINGS, "pooling": tuple(POOLS), "calibration": tuple(CALIBRATIONS)}
    for key, names in known.items():
        check_name(f"config ensemble.{key}", getattr(settings, key), names)
    recipes = [f"{orders}+{pooling}" for orders in ORDER_POOLINGS for pooling in POOLS]
    check_name("config ensemble.recipe", settings.recipe, ["auto", "default", *recipes])


def check_name(where: str, name: str, known: Sequence[str]) -> None:
    """Raise UserError unless `name` is one of `known`."""
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, n=1)
        cure = f"Did you mean {nearest[0]!r}?" if nearest else f"Use one of {', '.join(known)}."
        raise UserError(f"{where}: {name!r} is unknown. {cure}")


def all_candidates(settings: EnsembleConfig, priors: Priors, oof: Oof) -> tuple[Recipe, ...]:
    """Every recipe that the scores allow, the configured default first.

    Where each choice visits each position equally often, removing a prior changes nothing: unless the config names it,
    it is then left out, since every further candidate asks for a clearer gain of all others.
    """
    known = all(prior is not None for prior in priors.values())
    asked_for_prior = settings.order_pooling == "prior" or settings.recipe.startswith("prior+")
    if asked_for_prior and not known:
        fold, view = next(place for place, prior in priors.items() if prior is None)
        raise UserError(
            f"config ensemble: a position prior cannot be estimated from the orders of oof/fold{fold}/{view}. "
            "Score in more orders (config orders: cyclic) or use geometric."
        )
    cancels = np.allclose(oof.logp["prior"], oof.logp["geometric"], equal_nan=True)
    offers_prior = asked_for_prior or (known and not cancels)
    allowed = [how for how in ORDER_POOLINGS if how != "prior" or offers_prior]
    return candidates(Recipe(settings.order_pooling, settings.pooling), allowed)


def wanted(settings: EnsembleConfig, every: Sequence[Recipe]) -> Recipe:
    """The one recipe that the config names."""
    return every[0] if settings.recipe == "default" else next(r for r in every if r.name == settings.recipe)


def oof_rows(train: Path, folds: Path, files: Sequence[ScoreFile]) -> pl.DataFrame:
    """id, answer (0 to 3), fold and group of every training row, in the table's order."""
    table = pl.read_parquet(train, columns=["id", "answer"])
    assigned = pl.read_parquet(folds, columns=["id", "fold", "group"])
    if alone := sorted(set(table["id"]) ^ set(assigned["id"])):
        raise UserError(
            f"{folds}: rows {some(alone)} are only in one of it and {train}. Run the rule make_folds again."
        )
    if missing := sorted(set(assigned["fold"]) - {f.fold for f in files}):
        raise UserError(f"scores/oof/fold{missing[0]}: no scores of this fold. Score it (rule score_choices).")
    letters = {letter: number for number, letter in enumerate(LETTERS)}
    return table.join(assigned, on="id", how="left", maintain_order="left").with_columns(
        pl.col("answer").replace_strict(letters, return_dtype=pl.Int64)
    )


def read_oof(rows: pl.DataFrame, files: Sequence[ScoreFile]) -> tuple[Oof, Priors]:
    """The OOF log-probabilities in each order pooling, and each file's position prior (without labels)."""
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
    """Calibrated probabilities (N, C) of all test rows; one fold's scores at a time are in memory."""
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
    """The views (N, V, C) of one fold's test scores, one file a view, or None where the fold was not scored in it."""
    logp_NVC = np.full((len(index), len(files), len(LETTERS)), np.nan)
    present = []
    for position, file in enumerate(files):
        if file is not None:
            logits = read_logits(file, index)
            prior = priors.get((file.fold, file.view))
            if prior is None and recipe.order_pooling == "prior":
                prior = position_prior(logits)  # the view had no OOF row; test rows do, since no label is involved
            logp_NVC[:, position] = pool_orders(logits, recipe.order_pooling, prior)
            present.append(logits.present_N)
            bar.advance()
    check_complete([file for file in files if file is not None], present, index)
    return logp_NVC


def write_probabilities(ids: pl.Series, probabilities_NC: np.ndarray, out: Path, **more: pl.Series) -> None:
    """Write id, p_a to p_d and further columns."""
    columns = {"id": ids} | {name: probabilities_NC[:, i] for i, name in enumerate(PROBABILITIES)} | more
    with atomic_path(out) as partial:
        pl.DataFrame(columns).write_parquet(partial)


def recipe_summary(default: Recipe, fitted: Fitted, files: Sequence[ScoreFile], priors: Priors) -> dict[str, Any]:
    """What was chosen, from what, and what it learned on all OOF rows."""
    return {
        "default": default.name,
        "chosen": fitted.recipe.name,
        "order_pooling": fitted.recipe.order_pooling,
        "pooling": fitted.recipe.pooling,
        "views": views_of(files),
        "folds": sorted({f.fold for f in files}),
        "learned": plain(fitted.params),
        "position_prior": {f"fold{fold}/{view}": plain(prior) for (fold, view), prior in priors.items()},
    }


def nested_summary(held_out: Nested, default_right: np.ndarray, oof: Oof, seed: int) -> dict[str, Any]:
    """The honest accuracy: that of the outer folds, for the whole procedure."""
    right_N = held_out.calibrated_NC.argmax(1) == oof.answers_N
    return accuracy_summary(right_N, oof.groups_N, seed) | {
        "chosen_without_each_part": held_out.chosen,
        "against_default": paired_summary(default_right, right_N, oof.groups_N, seed),
    }


def calibration_report(fitted: Fitted, held_out: Nested, oof: Oof) -> dict[str, Any]:
    """What the calibration learned on all OOF rows, and how well cross-fitted ones do before and after."""
    return {
        "method": fitted.calibration,
        "learned": fitted.calibration_params,
        "before": calibration_summary(held_out.pooled_NC, oof.answers_N),
        "after": calibration_summary(held_out.calibrated_NC, oof.answers_N),
    }


def test_summary(table: pl.DataFrame) -> dict[str, Any]:
    """How many test rows there are and which of them got equal probabilities."""
    unusable = table["id"].filter(~table["usable"]).to_list()
    return {"rows": len(table), "unusable": len(unusable), "unusable_ids": unusable}


def plain(params: Any) -> Any:
    """Arrays as lists, for JSON."""
    if isinstance(params, dict):
        return {key: plain(value) for key, value in params.items()}
    return params.tolist() if isinstance(params, np.ndarray) else params


def main() -> None:
    """Run the stage by hand."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.ensemble_probabilities", description=__doc__)
    parser.add_argument("--config", nargs="+", type=Path, default=[Path("config.yaml")], help="later files override")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all artifacts")
    arguments = parser.parse_args()
    results = arguments.results
    with stage(None):
        ensemble_probabilities(
            scores=sorted(results.glob("scores/*/fold*/*.parquet")),
            train=results / "tables" / "train.parquet",
            test=results / "tables" / "test.parquet",
            folds=results / "folds.parquet",
            ensemble=checked_config(*arguments.config)["ensemble"],
            oof_out=results / "ensemble" / "oof.parquet",
            test_out=results / "ensemble" / "test.parquet",
            recipe_out=results / "ensemble" / "recipe.json",
        )


if __name__ == "__main__":
    main()
