"""Is a results folder whole, and do its artifacts agree with each other?

`python -m vqaflow.verify results/` reads every artifact and prints a line a check. It needs neither the images nor the
base model, changes nothing, and exits with 1 if a check fails, saying what is wrong, where, and what to do.
"""

import argparse
import csv
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import yaml
from PIL import Image

from vqaflow.artifacts import damaged, read_json, read_table, require_file
from vqaflow.config import LETTERS
from vqaflow.ensemble_probabilities import PROBABILITIES, pool_test
from vqaflow.errors import UserError
from vqaflow.files import file_digest, value_digest
from vqaflow.passes import learned, priors_of
from vqaflow.progress import stage
from vqaflow.recipes import Fitted, Recipe
from vqaflow.score_files import ScoreFile, check_complete, read_logits, row_index, score_files, some, views_of
from vqaflow.statistics import widest
from vqaflow.submission_files import Sample, read_sample
from vqaflow.validate_submission import find_problems, parse

LOG_COLUMNS = {"step", "epoch", "loss", "accuracy", "learning_rate"}
RECIPE_KEYS = ["chosen", "order_pooling", "pooling", "learned", "position_prior", "nested.right"]
RECIPE_KEYS += ["calibration.method", "calibration.learned"]
TOLERANCE = 1e-6  # of probabilities that are computed anew: other versions of numpy may round otherwise


@dataclass(frozen=True)
class Results:
    """A results folder; each artifact is read once, when a check first asks for it."""

    folder: Path

    @cached_property
    def train(self) -> pd.DataFrame:
        """The training table."""
        return read_table(self.folder / "tables" / "train.parquet", "validate_tables")

    @cached_property
    def test(self) -> pd.DataFrame:
        """The test table."""
        return read_table(self.folder / "tables" / "test.parquet", "validate_tables")

    @cached_property
    def folds(self) -> pd.DataFrame:
        """id, fold and group of the training rows."""
        return read_table(self.folder / "folds.parquet", "make_folds", ["id", "fold", "group"])

    @cached_property
    def scores(self) -> list[ScoreFile]:
        """The score files, by their places."""
        return score_files(sorted(self.folder.glob("scores/*/fold*/*.parquet")))

    def ensemble(self, split: str) -> pd.DataFrame:
        """The probabilities of a split, oof or test."""
        path = self.folder / "ensemble" / f"{split}.parquet"
        columns = ["id", *PROBABILITIES, *(["fold"] if split == "oof" else [])]
        return read_table(path, "ensemble_probabilities", columns)

    @property
    def recipe(self) -> dict[str, Any]:
        """What ensemble_probabilities chose and learned."""
        path = self.folder / "ensemble" / "recipe.json"
        return read_json(path, "ensemble_probabilities", RECIPE_KEYS)

    @property
    def overall(self) -> dict[str, Any]:
        """The OOF accuracy in metrics.json."""
        keys = [f"overall.{key}" for key in ("right", "n", "wilson")]
        return read_json(self.folder / "evaluation" / "metrics.json", "evaluate_oof", keys)["overall"]


def check_tables(results: Results) -> str:
    """Both tables have the declared columns, types and unique ids, and share no id."""
    from pandera.errors import SchemaError

    from vqaflow.table_schema import CheckedTable, CheckedTrainTable

    for name, schema, table in (("train", CheckedTrainTable, results.train), ("test", CheckedTable, results.test)):
        try:
            schema.validate(table)
        except SchemaError as error:
            raise damaged(results.folder / "tables" / f"{name}.parquet", "validate_tables", error) from None
    if both := sorted(set(results.train["id"]) & set(results.test["id"])):
        raise UserError(f"{results.folder / 'tables'}: ids {some(both)} are in both tables. Run validate_tables again.")
    problems = results.folder / "tables" / "problems.csv"
    require_file(problems, "validate_tables")
    with problems.open(encoding="utf-8", newline="") as file:
        listed = sum(1 for _ in csv.reader(file)) - 1
    return f"{len(results.train)} training and {len(results.test)} test rows, {listed} problems listed"


def check_folds(results: Results) -> str:
    """Every training row is in one fold, and no group, and no image that groups join, is in two."""
    path, again = results.folder / "folds.parquet", "Run the rule make_folds again."
    folds, train = results.folds, results.train
    if alone := sorted(set(folds["id"]) ^ set(train["id"])) or sorted(folds["id"][folds["id"].duplicated()]):
        raise UserError(f"{path}: rows {some(alone)} are not exactly once in it and in the training table. {again}")
    report = read_json(results.folder / "folds.report.json", "make_folds", ["group_by", "n"])
    keys = {"group": folds["group"]}
    if "image" in report["group_by"]:
        keys["image"] = folds["id"].map(train.set_index("id")["sha256"])
    for name, key in keys.items():
        spread = folds["fold"].groupby(key.to_numpy()).nunique()
        if leaked := sorted(spread.index[spread > 1]):
            ids = list(folds["id"][(key == leaked[0]).to_numpy()])
            raise UserError(f"{path}: rows {some(ids)} share a {name} but not a fold: answers would leak. {again}")
    count = folds["fold"].nunique()
    if sorted(folds["fold"].unique()) != list(range(report["n"])):
        raise UserError(f"{path}: the folds are not 0 to {report['n'] - 1} as in folds.report.json. {again}")
    return f"{count} folds, {folds['group'].nunique()} groups, none in two folds"


def check_adapters(results: Results) -> str:
    """Each fold has a whole adapter, trained on the other folds' rows, all of them on the same base and prompt."""
    from vqaflow.adapters import read_adapter  # torch takes seconds

    parities = {}
    for fold in sorted(results.folds["fold"].unique()):
        folder = results.folder / "adapters" / f"fold{fold}"
        again = f"Delete {folder} and train again (rule train_adapter)."
        read_adapter(folder)
        check_picture(folder / "curve.png", "train_adapter")
        check_log(folder / "log.csv")
        run = read_json(folder / "run.json", "train_adapter", ["parity", "held_out", "rows"])
        held_out = sorted(results.folds["id"][results.folds["fold"] == fold])
        if run["held_out"] != value_digest(held_out) or run["rows"] != len(results.folds) - len(held_out):
            raise UserError(
                f"{folder / 'run.json'}: the adapter was trained with other folds, and may know its own. {again}"
            )
        parities[folder] = run["parity"]
    first = next(iter(parities))
    for folder, parity in parities.items():
        if differing := sorted(
            k for k in parity.keys() | parities[first].keys() if parity.get(k) != parities[first].get(k)
        ):
            raise UserError(
                f"{folder / 'run.json'}: parity.{differing[0]} is not that of {first}. "
                "Train all folds with one configuration."
            )
    return f"{len(parities)} adapters, each trained without its own fold"


def check_log(path: Path) -> None:
    """Raise UserError unless `path` is a training log with a line."""
    require_file(path, "train_adapter")
    header, *lines = csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines())
    if not LOG_COLUMNS <= set(header) or not lines or any(len(line) != len(header) for line in lines):
        raise damaged(path, "train_adapter", ValueError(f"no whole table with {', '.join(sorted(LOG_COLUMNS))}"))


def check_search(results: Results) -> str:
    """If parameters were searched: the best ones and the study read, and the figures open."""
    folder, rule = results.folder / "hpo", "search_hyperparameters"
    if not folder.is_dir():
        return "no search was run"
    best, study = folder / "best.yaml", folder / "study.db"
    require_file(best, rule)
    require_file(study, rule)
    try:
        parameters = yaml.safe_load(best.read_text(encoding="utf-8"))["parameters"]
    except (ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise damaged(best, rule, error) from None
    try:
        with closing(sqlite3.connect(f"{study.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (trials,) = database.execute("SELECT COUNT(*) FROM trials").fetchone()
    except sqlite3.Error as error:
        raise damaged(study, rule, error) from None
    for figure in sorted(folder.glob("**/*.png")):
        check_picture(figure, rule)
    return f"{trials} trials; best: {', '.join(f'{key} {value}' for key, value in parameters.items())}"


def check_scores(results: Results) -> str:
    """Each fold's OOF rows, and all usable test rows, are scored in finite numbers, and no other rows are."""
    files, folds = results.scores, results.folds
    if missing := sorted(set(folds["fold"]) ^ {file.fold for file in files}):
        raise UserError(
            f"{results.folder / 'scores'}: fold {missing[0]} is only in folds or scores. Run score_choices again."
        )
    usable = results.test["id"][results.test["usable"]].tolist()
    count = 0
    for split in ("oof", "test"):
        for fold in sorted({file.fold for file in files}):
            here = [file for file in files if (file.split, file.fold) == (split, fold)]
            index = row_index(folds["id"][folds["fold"] == fold].tolist() if split == "oof" else usable)
            loaded = [read_logits(file, index) for file in here]
            check_complete(here, [logits.present_N for logits in loaded], index)
            count += sum(int(logits.present_N.sum()) * len(logits.orders) for logits in loaded)
    views = ", ".join(views_of(files))
    return f"{len(files)} files ({views}), {count:,} scored orders, OOF rows by the adapter of their own fold"


def check_ensemble(results: Results) -> str:
    """Probabilities are those that the recipe makes of the scores; OOF rows have the accuracy that it reports."""
    again = "Run the rule ensemble_probabilities again."
    tables = {"oof": results.train, "test": results.test}
    for split, table in tables.items():
        path, made = results.folder / "ensemble" / f"{split}.parquet", results.ensemble(split)
        if list(made["id"]) != list(table["id"]):
            raise UserError(f"{path}: its ids are not the table's in the table's order. {again}")
        p_NC = made[PROBABILITIES].to_numpy()
        bad_N = ~(np.isfinite(p_NC).all(1) & (p_NC >= 0).all(1) & (np.abs(p_NC.sum(1) - 1) < TOLERANCE))
        if bad_N.any():
            raise UserError(
                f"{path}: rows {some(list(made['id'][bad_N]))} have no probabilities that sum to 1. {again}"
            )
    oof, recipe = results.ensemble("oof"), results.recipe
    if (oof["fold"].to_numpy() != results.folds.set_index("id").loc[oof["id"], "fold"].to_numpy()).any():
        raise UserError(
            f"{results.folder / 'ensemble' / 'oof.parquet'}: its folds are not those of folds.parquet. {again}"
        )
    right = int((best_letters(oof) == results.train["answer"].to_numpy()).sum())
    if right != recipe["nested"]["right"]:
        raise UserError(
            f"{results.folder / 'ensemble'}: {right} rows of oof.parquet are right, but {recipe['nested']['right']} "
            f"by recipe.json. {again}"
        )
    check_pooled(results, recipe, again)
    return f"recipe {recipe['chosen']}; probabilities sum to 1 and follow from the scores"


def check_pooled(results: Results, recipe: dict[str, Any], again: str) -> None:
    """Pool the test scores anew with what recipe.json says and compare."""
    method = recipe["calibration"]
    fitted = Fitted(
        Recipe(recipe["order_pooling"], recipe["pooling"]), learned(recipe), method["method"], method["learned"]
    )
    table = pl.from_pandas(results.test[["id", "usable"]])
    p_NC = pool_test(table, results.scores, priors_of(recipe), fitted)
    off_N = np.abs(p_NC - results.ensemble("test")[PROBABILITIES].to_numpy()).max(1) > TOLERANCE
    if off_N.any():
        path = results.folder / "ensemble" / "test.parquet"
        raise UserError(
            f"{path}: rows {some(table['id'].filter(off_N).to_list())} do not follow from the scores. {again}"
        )


def best_letters(probabilities: pd.DataFrame) -> np.ndarray:
    """The most probable letter of each row."""
    return np.array(LETTERS)[probabilities[PROBABILITIES].to_numpy().argmax(1)]


def check_evaluation(results: Results) -> str:
    """metrics.json counts what the OOF probabilities get right; figures and pages open."""
    from vqaflow.evaluation_figures import FIGURES
    from vqaflow.mistakes import LIMITS

    folder, again = results.folder / "evaluation", "Run the rule evaluate_oof again."
    overall = results.overall
    right = int((best_letters(results.ensemble("oof")) == results.train["answer"].to_numpy()).sum())
    if (overall["right"], overall["n"]) != (right, len(results.train)):
        raise UserError(
            f"{folder / 'metrics.json'}: says {overall['right']} of {overall['n']} rows are right, the ensemble has "
            f"{right} of {len(results.train)}. {again}"
        )
    for figure in FIGURES:
        check_picture(folder / f"{figure}.png", "evaluate_oof")
    for page in LIMITS:
        require_file(folder / page, "evaluate_oof")
        if not (folder / page).read_text(encoding="utf-8", errors="replace").endswith("</html>\n"):
            raise UserError(f"{folder / page}: is cut off. {again}")
    low, high = widest(overall)
    return f"OOF accuracy {100 * right / overall['n']:.2f} % [{100 * low:.2f}, {100 * high:.2f}], n = {overall['n']}"


def check_picture(path: Path, rule: str) -> None:
    """Raise UserError unless `path` is a whole image."""
    require_file(path, rule)
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a broken PNG
        raise damaged(path, rule, error) from None


def check_exploration(results: Results) -> str:
    """The summary of the data reads, and its figures open."""
    read_json(results.folder / "eda" / "summary.json", "explore_data")
    figures = sorted(results.folder.glob("eda/**/*.png"))
    if not figures:
        raise UserError(f"{results.folder / 'eda'}: has no figure. Run the rule explore_data again.")
    for figure in figures:
        check_picture(figure, "explore_data")
    return f"summary and {len(figures)} figures"


def check_submission(results: Results, sample: Path | None = None) -> str:
    """The submission is the ensemble's best letters, is the file that was validated, and is in the sample's shape."""
    path, again = results.folder / "submission.csv", "Run the rules write_submission and validate_submission again."
    require_file(path, "write_submission")
    about = results.folder / "submission.validated.json"
    validated = read_json(about, "validate_submission", ["sha256", "columns", "oof.accuracy"])
    if file_digest(path) != validated["sha256"]:
        raise UserError(f"{path}: its sha256 is not the one in submission.validated.json. {again}")
    ids = results.test["id"].tolist()
    _, rows = parse(path.read_bytes().decode("utf-8", errors="replace"))
    given = [fields[0] for _, fields in rows[1:]]
    shape = read_sample(sample) if sample else Sample(tuple(validated["columns"]), given)
    if problems := list(find_problems(path.read_bytes(), shape, ids)):
        raise UserError(f"{path}: {problems[0]} {again}")
    best = dict(zip(ids, best_letters(results.ensemble("test")), strict=True))
    if other := [row_id for _, (row_id, answer) in rows[1:] if best[row_id] != answer]:
        raise UserError(f"{path}: rows {some(other)} have another answer than ensemble/test.parquet. {again}")
    if validated["oof"] != {key: results.overall.get(key) for key in validated["oof"]}:
        raise UserError(f"{about}: rests on another accuracy than metrics.json. {again}")
    return f"{len(given)} answers, sha256 {validated['sha256'][:12]}…"


# Each check with those whose failure leaves it nothing to stand on.
CHECKS: dict[str, tuple[Callable[..., str], tuple[str, ...]]] = {
    "tables": (check_tables, ()),
    "exploration": (check_exploration, ()),
    "folds": (check_folds, ("tables",)),
    "search": (check_search, ()),
    "adapters": (check_adapters, ("folds",)),
    "scores": (check_scores, ("tables", "folds")),
    "ensemble": (check_ensemble, ("tables", "folds", "scores")),
    "evaluation": (check_evaluation, ("tables", "ensemble")),
    "submission": (check_submission, ("tables", "ensemble", "evaluation")),
}


def verify(folder: Path, sample: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """Run all checks; yields each one's name, ``ok``, ``FAILED`` or ``skipped``, and what was found.

    `sample` is the sample submission; without it the submission's order and columns are not compared with it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder. Give the results folder of a run.")
    results, failed = Results(folder), set()
    for name, (check, needs) in CHECKS.items():
        if missing := [need for need in needs if need in failed]:
            failed.add(name)
            yield name, "skipped", f"since {missing[0]} failed"
            continue
        try:
            yield name, "ok", check(results, sample) if name == "submission" else check(results)
        except UserError as error:
            failed.add(name)
            yield name, "FAILED", str(error)


def main() -> None:
    """Print a line a check."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.verify", description=__doc__)
    parser.add_argument("results", type=Path, help="the results folder of a run")
    parser.add_argument("--sample", type=Path, help="the sample submission, to compare the submission's order with")
    given = parser.parse_args()
    with stage(None):
        whole = True
        for name, state, found in verify(given.results, given.sample):
            print(f"{state:7}  {name:11}  {found}", flush=True)
            whole &= state == "ok"
    if not whole:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
