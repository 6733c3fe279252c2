"""Rule ensemble_probabilities: from all scores to one calibrated probability per choice, for OOF and test rows.

`vqaflow ensemble_probabilities` runs it by hand.

Shapes: N rows, C = 4 choices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vqaflow.artifacts.columns import PROBABILITIES
from vqaflow.artifacts.reading import require_file
from vqaflow.artifacts.score_files import score_files
from vqaflow.config.sections import EnsembleConfig, section
from vqaflow.ensemble.members import oof_rows, pool_test, read_oof
from vqaflow.ensemble.recipe_file import calibration_report, nested_summary, recipe_summary, test_summary
from vqaflow.ensemble.recipes import Procedure, all_candidates, candidate_table, check_names, fit, hits, nested, wanted
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.stage import log


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
    """Pool and calibrate `scores`; `train` and `test` are the tables, `ensemble` is the config's section.

    The OOF file has the held-out predictions of the nested cross-validation. Test rows are pooled by the recipe that is
    fitted on all OOF rows; unusable ones get equal probabilities.
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


def write_probabilities(ids: pl.Series, probabilities_NC: np.ndarray, out: Path, **more: pl.Series) -> None:
    """Write id, p_a to p_d and further columns."""
    columns = {"id": ids} | {name: probabilities_NC[:, i] for i, name in enumerate(PROBABILITIES)} | more
    with atomic_path(out) as partial:
        pl.DataFrame(columns).write_parquet(partial)
