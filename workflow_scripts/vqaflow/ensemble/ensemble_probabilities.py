"""Rule ensemble_probabilities: from all members to one calibrated probability per choice, for OOF and test rows.

`vqaflow ensemble_probabilities` runs it by hand.

Shapes: N rows, S sources, C choices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.choices import OWN, read_with_letters
from vqaflow.artifacts.columns import ALL_LETTERS, probability_columns
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.reading import letters_of_table, read_table
from vqaflow.artifacts.rows import read_shares
from vqaflow.config.recipe_names import Recipe, check_recipe_name, every_recipe, named_recipe
from vqaflow.config.sections import EnsembleConfig, section
from vqaflow.ensemble.calibration import CALIBRATIONS
from vqaflow.ensemble.pooling import POOLS
from vqaflow.ensemble.recipe_file import (
    calibration_report,
    candidate_table,
    expected_summary,
    nested_summary,
    recipe_summary,
    test_summary,
)
from vqaflow.ensemble.recipes import CrossFit, Fitted, Procedure, check_covered, choose, fit, nested, offered
from vqaflow.ensemble.sharpening import Sharpening
from vqaflow.ensemble.sources import (
    Member,
    Oof,
    read_members,
    read_oof,
    sources_of,
    views_by_member,
    whole_sources,
)
from vqaflow.ensemble.test_rows import pool_test, sharpened
from vqaflow.reporting.measures import METRICS
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.messages import did_you_mean, some
from vqaflow.runtime.stage import CLOSING, log


def ensemble_probabilities(
    *,
    members: Sequence[Path],
    train: Path,
    test: Path,
    folds: Path,
    ensemble: Mapping[str, Any],
    oof_out: Path,
    test_out: Path,
    recipe_out: Path,
) -> None:
    """Pool and calibrate `members`, the folders results/members/{name} in the order of their names.

    `train` and `test` are the tables, `ensemble` is the config's section. The OOF file has the held-out predictions of
    the nested cross-validation. Test rows are pooled by the recipe that is fitted on all OOF rows.
    """
    settings = section(EnsembleConfig, ensemble)
    check_names(settings)
    rows = oof_rows(train, folds)
    found = read_members(members)
    require_letters(found, [train, test])
    answers_N, groups_N = rows["answer"].to_numpy(), rows["group"].to_numpy()
    oof = Oof(sources_of(found), read_oof(found, rows), answers_N, groups_N, read_shares(train))
    every, candidates = recipes(settings, found)
    check_covered(candidates[0], oof.sources, oof.logp_NSC, rows["id"])
    cross = CrossFit(oof, settings.seed, settings.metric)
    procedure = Procedure(candidates, settings.calibration)
    held_out = nested(procedure, cross)
    fitted, choice = fit(procedure, cross)
    log.info("recipe %s: %s", fitted.recipe.name, choice.reason)
    compared = choice if len(candidates) > 1 else choose(every, cross)
    report = {
        "recipe": settings.recipe,
        **({} if settings.metric == "accuracy" else {"metric": settings.metric}),
        "reason": choice.reason,
        "candidates": candidate_table(compared, cross),
        "nested": nested_summary(held_out, compared, cross),
        "calibration": calibration_report(fitted, held_out, oof.answers),
    }
    del cross, compared, choice, oof  # test rows need the memory
    table = read_with_letters(test, ["id", "usable"])
    probabilities_NC, sharpness = probabilities_of_test(table, found, fitted)
    report["test"] = test_summary(table, held_out, sharpness)
    report["expected"] = expected_summary(report["nested"], sharpness, int(table["usable"].sum()))
    write_probabilities(rows["id"], held_out.calibrated_NC, oof_out, fold=rows["fold"])
    write_probabilities(table["id"], probabilities_NC, test_out)
    write_json(recipe_out, report | recipe_summary(every[0], fitted, found))
    log.info("members pooled: %d; %d OOF and %d test rows", len(found), len(rows), len(table), extra=CLOSING)


def check_names(settings: EnsembleConfig) -> None:
    """Raise UserError if a method is unknown; the message names the nearest known one."""
    for key, known in {"pooling": POOLS, "calibration": CALIBRATIONS, "metric": METRICS}.items():
        name = getattr(settings, key)
        if name not in known:
            raise UserError(f"config ensemble.{key}: {name!r} is unknown; {did_you_mean(name, known)}")


def require_letters(members: Sequence[Member], tables: Sequence[Path]) -> None:
    """Raise UserError unless the members have as many choices as the tables."""
    for table in tables:
        letters = letters_of_table(table, "validate_tables")
        if letters != members[0].letters:
            raise UserError(
                f"{members[0].folder}: has {len(members[0].letters)} choices, but {table} has {len(letters)}. Run the "
                "rule pool_member again."
            )


def recipes(settings: EnsembleConfig, members: Sequence[Member]) -> tuple[tuple[Recipe, ...], tuple[Recipe, ...]]:
    """All recipes for these members, the default first, and those among which to choose: all, or the named one."""
    views = views_by_member(members)
    check_recipe_name("config ensemble.recipe", settings.recipe, views)
    every = offered(every_recipe(settings.pooling, views), sources_of(members), whole_sources(members))
    if settings.recipe == "auto":
        return every, every
    named = named_recipe(settings.recipe, settings.pooling)
    assert named is not None, "check_recipe_name lets only known names pass"
    return every, (named,)


def oof_rows(train: Path, folds: Path) -> pl.DataFrame:
    """The id, answer (0 to C - 1), own letters, fold and group of every training row, in the table's order."""
    table = read_with_letters(train, ["id", "answer"])
    assigned = pl.from_pandas(read_table(folds, "make_folds", ["id", "fold", "group"]))
    if alone := sorted(set(table["id"]) ^ set(assigned["id"])):
        raise UserError(
            f"{folds}: rows {some(alone)} are only in this file or only in {train}. Run the rule make_folds again."
        )
    letters = {letter: number for number, letter in enumerate(ALL_LETTERS)}
    return table.join(assigned, on="id", how="left", maintain_order="left").with_columns(
        pl.col("answer").replace_strict(letters, return_dtype=pl.Int64), pl.col("fold").cast(pl.Int64)
    )


def probabilities_of_test(
    table: pl.DataFrame, members: Sequence[Member], fitted: Fitted
) -> tuple[np.ndarray, Sharpening | None]:
    """Probabilities (N, C) of all test rows, and how they were sharpened."""
    if unusable := int((~table["usable"]).sum()):
        log.warning(
            "%d test rows are unusable: those without an image are answered from question and choices", unusable
        )
    return sharpened(pool_test(members, table.select("id", OWN), fitted))


def write_probabilities(ids: pl.Series, probabilities_NC: np.ndarray, out: Path, **more: pl.Series) -> None:
    """Write id, p_a, p_b, … and further columns."""
    names = probability_columns(ALL_LETTERS[: probabilities_NC.shape[1]])
    columns = {"id": ids} | {name: probabilities_NC[:, i] for i, name in enumerate(names)} | more
    with atomic_path(out) as partial:
        write_parquet(pl.DataFrame(columns), partial)
