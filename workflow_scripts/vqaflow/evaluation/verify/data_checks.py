"""Checks of the tables, the folds and the exploration."""

import csv

from vqaflow.artifacts.reading import check_picture, damaged, read_json, require_file
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some


def check_tables(results: Results) -> str:
    """Both tables have the declared columns, types and unique ids, and share no id."""
    from pandera.errors import SchemaError

    from vqaflow.artifacts.table_schema import checked_schema

    for name, table in (("train", results.train), ("test", results.test)):
        try:
            checked_schema(table.columns, with_answer=name == "train").validate(table)
        except SchemaError as error:
            raise damaged(results.at.table(name), "validate_tables", error) from None
    if both := sorted(set(results.train["id"]) & set(results.test["id"])):
        raise UserError(
            f"{results.at.problems.parent}: ids {some(both)} are in both tables. Run validate_tables again."
        )
    problems = results.at.problems
    require_file(problems, "validate_tables")
    with problems.open(encoding="utf-8", newline="") as file:
        listed = sum(1 for _ in csv.reader(file)) - 1
    return f"{len(results.train)} training and {len(results.test)} test rows, {listed} problems listed"


def check_folds(results: Results) -> str:
    """Every training row is in one fold; no group is in two folds, nor an image if rows are grouped by image."""
    path, again = results.at.folds, "Run the rule make_folds again."
    folds, train = results.folds, results.train
    if alone := sorted(set(folds["id"]) ^ set(train["id"])) or sorted(folds["id"][folds["id"].duplicated()]):
        raise UserError(
            f"{path}: rows {some(alone)} are missing from this file or from the training table, or occur twice. {again}"
        )
    report = read_json(results.at.fold_report, "make_folds", ["group_by", "n"])
    keys = {"group": folds["group"]}
    if "image" in report["group_by"]:
        keys["image"] = folds["id"].map(train.set_index("id")["sha256"])
    for name, key in keys.items():
        spread = folds["fold"].groupby(key.to_numpy()).nunique()
        if leaked := sorted(spread.index[spread > 1]):
            ids = list(folds["id"][(key == leaked[0]).to_numpy()])
            raise UserError(
                f"{path}: rows {some(ids)} share the same {name} but not a fold: answers would leak. {again}"
            )
    count = folds["fold"].nunique()
    if sorted(folds["fold"].unique()) != list(range(report["n"])):
        raise UserError(f"{path}: the folds are not 0 to {report['n'] - 1} as in folds.report.json. {again}")
    return f"{count} folds, {folds['group'].nunique()} groups, none in two folds"


def check_exploration(results: Results) -> str:
    """The summary of the data can be read, and its figures open."""
    read_json(results.at.exploration / "summary.json", "explore_data")
    figures = sorted(results.at.exploration.glob("**/*.png"))
    if not figures:
        raise UserError(f"{results.at.exploration}: has no figures. Run the rule explore_data again.")
    for figure in figures:
        check_picture(figure, "explore_data")
    return f"summary and {len(figures)} figures"
