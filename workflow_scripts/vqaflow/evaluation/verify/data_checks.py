"""Checks of the tables, the folds and the exploration.

Shapes: N training rows.
"""

import csv
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.reading import check_picture, damaged, read_json, require_file
from vqaflow.data.folds.copies import COPY_COLUMNS, find_copies, joined_pairs
from vqaflow.data.folds.groups import row_groups
from vqaflow.data.folds.seen_images import seen_images
from vqaflow.evaluation.verify.results import Results, place_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

REPORT_KEYS = ["group_by", "n", "near_distance", "copies.joined", "in_test.exact", "in_test.near"]


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
    """Every training row is in one fold; the groups are those that the tables give, and none is in two folds."""
    path, again = results.at.folds, "Run the rule make_folds again."
    folds, train = results.folds, results.train
    if alone := sorted(set(folds["id"]) ^ set(train["id"])) or sorted(folds["id"][folds["id"].duplicated()]):
        raise UserError(
            f"{path}: rows {some(alone)} are missing from this file or from the training table, or occur twice. {again}"
        )
    report = read_json(results.at.fold_report, "make_folds", REPORT_KEYS)
    joined = joined_pairs(report["copies"])
    if unknown := sorted({row_id for pair in joined for row_id in pair} - set(train["id"])):
        raise UserError(f"{results.at.fold_report}: rows {some(unknown)} are not in the training table. {again}")
    assigned = folds.set_index("id").loc[train["id"]]
    groups_N = row_groups(train, report["group_by"], report["near_distance"], joined)
    columns = {"the same group": assigned["group"], "the same image, or the same question and choices,": groups_N}
    for what, key_N in columns.items():
        spread = assigned["fold"].groupby(np.asarray(key_N)).nunique()
        if leaked := sorted(spread.index[spread > 1]):
            ids = list(assigned.index[np.asarray(key_N) == leaked[0]])
            raise UserError(
                f"{path}: rows {some(ids)} share {what} but not a fold: answers would leak "
                f"({len(leaked)} such groups). {again}"
            )
    if wrong := list(assigned.index[pd.factorize(assigned["group"])[0] != groups_N]):
        raise UserError(
            f"{path}: the groups of {len(wrong)} rows ({some(wrong)}) are not those that the training table and "
            f"{results.at.fold_report} give. {again}"
        )
    check_overlaps(results, report, again)
    count = folds["fold"].nunique()
    if sorted(folds["fold"].unique()) != list(range(report["n"])):
        raise UserError(f"{path}: the folds are not 0 to {report['n'] - 1} as in folds.report.json. {again}")
    return f"{count} folds, {folds['group'].nunique()} groups, none in two folds"


def check_overlaps(results: Results, report: dict[str, Any], again: str) -> None:
    """Raise UserError unless copies, and images that the test table has too, are those that the tables give.

    Copies are looked for again if all images are here.
    """
    train, test = results.train[COPY_COLUMNS], results.test[COPY_COLUMNS]
    found = seen_images(train, test, report["near_distance"])
    for kind in ("exact", "near"):
        if found[kind] != report["in_test"][kind]:
            raise UserError(
                f"{results.at.fold_report}: images that are in the test table too (in_test.{kind}) are not those that "
                f"the tables give. {again}"
            )
    both = pd.concat([train, test], ignore_index=True)
    places = {file: place_of(results.at, file) for file in both["image_file"].unique()}
    if not all(place.is_file() for place in places.values()):
        return
    copies = find_copies(both.assign(image_file=[str(places[file]) for file in both["image_file"]]))
    if copies.report(train["id"] if "image" in report["group_by"] else [])["joined"] != report["copies"]["joined"]:
        raise UserError(f"{results.at.fold_report}: the copies of images are not those that the images give. {again}")


def check_exploration(results: Results) -> str:
    """The summary of the data can be read, and its figures open."""
    read_json(results.at.exploration / "summary.json", "explore_data")
    figures = sorted(results.at.exploration.glob("**/*.png"))
    if not figures:
        raise UserError(f"{results.at.exploration}: has no figures. Run the rule explore_data again.")
    for figure in figures:
        check_picture(figure, "explore_data")
    return f"summary and {len(figures)} figures"
