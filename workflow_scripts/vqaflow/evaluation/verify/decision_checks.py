"""Checks of the ensemble, the evaluation and the submission.

Shapes: N rows, C choices.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.choices import OWN, choices_there, own_letters
from vqaflow.artifacts.columns import ALL_LETTERS, letters_in, probabilities_in, probability_columns
from vqaflow.artifacts.reading import check_picture, read_json, require_file
from vqaflow.ensemble.recipe_file import recompute_test
from vqaflow.ensemble.submission.answers import accepted_of_run
from vqaflow.ensemble.submission.checks import find_problems, parse
from vqaflow.ensemble.submission.sample import Sample, read_sample
from vqaflow.evaluation.verify.results import Results
from vqaflow.reporting.statistics import widest
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

TOLERANCE = 1e-6  # of probabilities that are computed again: other versions of numpy may round differently


def check_ensemble(results: Results) -> str:
    """The probabilities follow from the members by the recipe; OOF rows have the accuracy that it reports."""
    again = "Run the rule ensemble_probabilities again."
    tables = {"oof": results.train, "test": results.test}
    for split, table in tables.items():
        path, made = results.at.probabilities(split), results.ensemble(split)
        if list(made["id"]) != list(table["id"]):
            raise UserError(f"{path}: its ids are not those of the table, in the table's order. {again}")
        letters = letters_in(table)
        if probabilities_in(made) != probability_columns(letters):
            raise UserError(f"{path}: does not have the {len(letters)} choices of the table. {again}")
        p_NC, there_NC = made[probabilities_in(made)].to_numpy(), choices_there(own_letters(table), letters)
        given_N = ((p_NC != 0) & ~there_NC).any(1)
        if given_N.any():
            raise UserError(f"{path}: rows {some(list(made['id'][given_N]))} answer choices that they lack. {again}")
        bad_N = ~(np.isfinite(p_NC).all(1) & (p_NC >= 0).all(1) & (np.abs(p_NC.sum(1) - 1) < TOLERANCE))
        if bad_N.any():
            raise UserError(
                f"{path}: rows {some(list(made['id'][bad_N]))} do not have probabilities that sum to 1. {again}"
            )
    oof, recipe = results.ensemble("oof"), results.recipe
    if (oof["fold"].to_numpy() != results.folds.set_index("id").loc[oof["id"], "fold"].to_numpy()).any():
        raise UserError(f"{results.at.probabilities('oof')}: its folds are not those of folds.parquet. {again}")
    right = int((best_letters(oof) == results.train["answer"].to_numpy()).sum())
    if right != recipe["nested"]["right"]:
        raise UserError(
            f"{results.at.recipe.parent}: {right} rows of oof.parquet are right, but {recipe['nested']['right']} "
            f"by recipe.json. {again}"
        )
    check_pooled(results, recipe, again)
    return f"recipe {recipe['chosen']}; probabilities sum to 1 and follow from the members"


def check_pooled(results: Results, recipe: dict[str, Any], again: str) -> None:
    """Pool the members' test rows again as recipe.json says, and compare."""
    table = pl.from_pandas(results.test[["id"]]).with_columns(pl.Series(OWN, own_letters(results.test)))
    made = recompute_test(recipe, [results.at.member(name).folder for name in results.members], table)
    ensemble = results.ensemble("test")
    off_N = ~(np.abs(made.probabilities_NC - ensemble[probabilities_in(ensemble)].to_numpy()) <= TOLERANCE).all(1)
    if off_N.any():
        path, rows = results.at.probabilities("test"), some(table["id"].filter(pl.Series(off_N)).to_list())
        raise UserError(f"{path}: rows {rows} do not follow from the members. {again}")


def best_letters(probabilities: pd.DataFrame) -> np.ndarray:
    """The most probable letter of each row."""
    return np.array(ALL_LETTERS)[probabilities[probabilities_in(probabilities)].to_numpy().argmax(1)]


def check_evaluation(results: Results) -> str:
    """metrics.json agrees with the OOF probabilities; figures and pages open."""
    from vqaflow.evaluation.figures import figures_of
    from vqaflow.evaluation.mistakes import LIMITS
    from vqaflow.evaluation.picks.page import PAGE

    folder, again = results.at.evaluation, "Run the rule evaluate_oof again."
    metrics = results.metrics
    overall = metrics["overall"]
    right = int((best_letters(results.ensemble("oof")) == results.train["answer"].to_numpy()).sum())
    if (overall["right"], overall["n"]) != (right, len(results.train)):
        raise UserError(
            f"{folder / 'metrics.json'}: says {overall['right']} of {overall['n']} rows are right, the ensemble has "
            f"{right} of {len(results.train)}. {again}"
        )
    check_member_numbers(results, metrics["members"]["each"], again)
    check_numbers(results, metrics, again)
    for figure in figures_of(metrics):
        check_picture(folder / f"{figure}.png", "evaluate_oof")
    for page in [*LIMITS, PAGE]:
        require_whole_page(folder / page, "evaluate_oof")
    low, high = widest(overall)
    return f"OOF accuracy {100 * right / overall['n']:.2f} % [{100 * low:.2f}, {100 * high:.2f}], n = {overall['n']}"


def require_whole_page(path: Path, rule: str) -> None:
    """Raise UserError unless a page is there to its end."""
    require_file(path, rule)
    if not path.read_text(encoding="utf-8", errors="replace").endswith("</html>\n"):
        raise UserError(f"{path}: is cut off. Run the rule {rule} again.")


def check_numbers(results: Results, metrics: dict[str, Any], again: str) -> None:
    """Raise UserError unless the ensemble's numbers are those that its OOF probabilities and recipe.json give."""
    from vqaflow.evaluation.evidence import read_oof_rows
    from vqaflow.evaluation.metrics import ensemble_metrics, expectation, leaderboard

    at, recipe = results.at, results.recipe
    rows = read_oof_rows(at.probabilities("oof"), at.table("train"), at.folds)
    made = ensemble_metrics(rows, recipe) | {"expected": expectation(recipe), "leaderboard": leaderboard(recipe)}
    if where := differing(metrics, json.loads(json.dumps(made))):
        raise UserError(f"{at.metrics}: {where} is not what oof.parquet and recipe.json give. {again}")


def differing(said: Any, made: Any, where: str = "") -> str:
    """The place of the first value of `made` that `said` has otherwise; "" if there is none."""
    if isinstance(made, dict) and isinstance(said, dict):
        inner = ((key, said.get(key), value) for key, value in made.items())
    elif isinstance(made, list) and isinstance(said, list) and len(made) == len(said):
        inner = ((number, *pair) for number, pair in enumerate(zip(said, made, strict=True)))
    elif isinstance(made, float) and isinstance(said, float | int):
        return "" if abs(said - made) <= TOLERANCE else where
    else:
        return "" if said == made else where
    return next(filter(None, (differing(*pair, f"{where}.{key}".lstrip(".")) for key, *pair in inner)), "")


def check_member_numbers(results: Results, each: dict[str, Any], again: str) -> None:
    """Raise UserError unless metrics.json has the accuracy of each member that was pooled."""
    for member in results.members:
        answers = results.member_answers(member, "oof")
        right = int((best_letters(answers) == results.train["answer"].to_numpy()).sum())
        said = each.get(member, {}).get("right")
        if said != right:
            raise UserError(
                f"{results.at.metrics}: says {said} rows of the member {member} are right, its oof.parquet has "
                f"{right}. {again}"
            )


def check_submission(results: Results, sample: Path | None = None) -> str:
    """The submission has the ensemble's best letters and the sample's shape, and is the file that was validated."""
    from vqaflow.evaluation.show_answers import excerpt_of

    path, again = results.at.submission, "Run the rules write_submission and validate_submission again."
    require_file(path, "write_submission")
    about = results.at.validated
    validated = read_json(about, "validate_submission", ["sha256", "columns", "oof.accuracy"])
    if file_digest(path) != validated["sha256"]:
        raise UserError(f"{path}: its sha256 is not the one in submission.validated.json. {again}")
    ids = results.test["id"].tolist()
    _, rows = parse(path.read_bytes().decode("utf-8", errors="replace"))
    given = [fields[0] for _, fields in rows[1:]]
    shape = read_sample(sample, results.at.labels) if sample else Sample(tuple(validated["columns"]), given)
    accepted = accepted_of_run(results.at.labels, results.at.table("test"))
    if problems := list(find_problems(path.read_bytes(), shape, ids, accepted)):
        raise UserError(f"{path}: {problems[0]} {again}")
    best = dict(zip(ids, best_letters(results.ensemble("test")), strict=True))
    if other := [row_id for _, (row_id, answer) in rows[1:] if best[row_id] not in accepted.found(row_id, answer)]:
        raise UserError(f"{path}: rows {some(other)} have a different answer in ensemble/test.parquet. {again}")
    if validated["oof"] != {key: results.metrics["overall"].get(key) for key in validated["oof"]}:
        raise UserError(f"{about}: its accuracy is not the one in metrics.json. {again}")
    for page in (results.at.test_answers, excerpt_of(results.at.test_answers)):
        require_whole_page(page, "show_answers")
    return f"{len(given)} answers, sha256 {validated['sha256'][:12]}…"
