"""Split training rows into folds: no image and no question is used for both training and validation.

Shapes: N rows, G groups.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts.columns import letters_in
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.reading import damaged, read_table
from vqaflow.data.folds.balance import balance_report, deal
from vqaflow.data.folds.copies import COPY_COLUMNS, find_copies, joined_pairs, near_report
from vqaflow.data.folds.crops import MOST_IMAGES
from vqaflow.data.folds.groups import row_groups
from vqaflow.data.folds.seen_images import seen_images
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_path, write_json
from vqaflow.runtime.stage import CLOSING, log


def make_folds(
    *,
    train: Path,
    test: Path,
    n: int,
    seed: int,
    group_by: Sequence[str],
    near_distance: int,
    folds_out: Path,
    report_out: Path,
) -> None:
    """Write the fold and group of each training row, and a report on balance, copies and images that test also has.

    `n`, `seed`, `group_by` and `near_distance` are the configuration's section `folds`. Raises UserError if there are
    fewer groups than folds.
    """
    table = read_table(train, "validate_tables")
    columns = [*COPY_COLUMNS, "qtype", "answer", "question", *(letters_in(table) or "a")]
    if lacking := [name for name in columns if name not in table]:
        raise damaged(train, "validate_tables", ValueError(f"it has no {', '.join(lacking)}"))
    table = table[[*columns, *(["source"] if "source" in table else [])]]
    seen = read_table(test, "validate_tables", COPY_COLUMNS)
    copies = find_copies(pd.concat([table[COPY_COLUMNS], seen], ignore_index=True))
    about_copies = copies.report(table["id"] if "image" in group_by else [])
    groups_N = row_groups(table, group_by, near_distance, joined_pairs(about_copies))
    count = int(groups_N.max()) + 1
    if count < n:
        raise UserError(
            f"folds: the {len(table)} training rows of {train} form {count} groups, fewer than folds.n = {n}. "
            f"{cure_of_few_groups(count, len(table), n, near_distance)}."
        )
    strata = table[["qtype", "answer"] + (["source"] if "source" in table and table["source"].nunique() > 1 else [])]
    fold_N = deal(strata, groups_N, n, seed)
    report = {
        "n": n,
        "seed": seed,
        "group_by": list(group_by),
        "near_distance": near_distance,
        "rows": len(table),
        "groups": group_report(groups_N),
        "folds": fold_sizes(fold_N, groups_N, n),
        "balance": balance_report(strata, fold_N, groups_N),
        "copies": about_copies,
        "near": near_report(table, fold_N),
        "in_test": seen_images(table, seen, near_distance, copies.found),
    }
    log_report(report)
    with atomic_path(folds_out) as partial:
        write_parquet(pd.DataFrame({"id": table["id"], "fold": fold_N, "group": groups_N}), partial)
    write_json(report_out, report)


def cure_of_few_groups(count: int, rows: int, n: int, near_distance: int) -> str:
    """The cure where `rows` form `count` groups, fewer than `n`. There must be at least two folds."""
    cures = [f"lower folds.n to {count}"] if count > 1 else []
    if rows >= n and near_distance:
        cures.append("lower folds.near_distance")
    if rows >= n:
        cures.append("group by less (folds.group_by)")
    cures.append("add training rows with other images and questions")
    cure = ", or ".join(cures)
    return cure[0].upper() + cure[1:]


def group_report(groups_N: np.ndarray) -> dict[str, int]:
    """How many groups there are, and how many rows they tie together."""
    sizes_G = np.bincount(groups_N)
    tied = sizes_G > 1
    return {
        "count": len(sizes_G),
        "of_several_rows": int(tied.sum()),
        "rows_in_those": int(sizes_G[tied].sum()),
        "largest": int(sizes_G.max()),
    }


def fold_sizes(fold_N: np.ndarray, groups_N: np.ndarray, n: int) -> list[dict[str, int]]:
    """Rows and groups of each fold."""
    return [
        {"rows": int((fold_N == fold).sum()), "groups": len(np.unique(groups_N[fold_N == fold]))} for fold in range(n)
    ]


def log_report(report: dict[str, Any]) -> None:
    """Log what the user should know about the folds."""
    groups = report["groups"]
    sizes = ", ".join(str(fold["rows"]) for fold in report["folds"])
    log.info("folds: %d rows in %d groups; rows per fold: %s", report["rows"], groups["count"], sizes, extra=CLOSING)
    if groups["largest"] * report["n"] > report["rows"]:
        cure = "Lower folds.near_distance, or group by less (folds.group_by)"
        log.warning("folds: one group has %d rows, more than a fold's share. %s", groups["largest"], cure)
    for line in outside_lines(report["balance"]["outside"]):
        log.warning("folds: %s", line)
    log_copies(report["copies"], report["near"])
    exact, copies, near = (report["in_test"][kind] for kind in ("exact", "copies", "near"))
    for found, how in ((exact, "with the same pixels"), (copies, "saved again, mirrored, turned or cropped")):
        if found["train_rows"]:
            rows = found["train_images"], found["train_rows"], how, found["test_rows"]
            log.warning("folds: %d training images (%d rows) reappear in test, %s (%d rows there)", *rows)
    if near["train_rows"]:
        rows = near["train_images"], near["train_rows"], near["distance"], near["test_rows"]
        log.info("folds: %d training images (%d rows) are within %d bits of test images (%d rows)", *rows)


def log_copies(copies: Mapping[str, Any], near: Mapping[str, Any]) -> None:
    """Log which training images were joined as copies, and which look alike and were not."""
    if copies["joined"]:
        kinds = Counter(copy["how"] for copy in copies["joined"]).most_common()
        counts = ", ".join(f"{count} {how}" for how, count in kinds)
        log.info("folds: %d copies of training images share their fold: %s", len(copies["joined"]), counts)
    if near["in_different_folds"]:
        what = "folds: %d pairs of training images in different folds have hashes within %d bits, but other pixels; "
        what += "if they show the same thing, set folds.near_distance: %d (see folds.report.json)"
        log.info(what, near["in_different_folds"], near["distance"], near["distance"])
    if copies["images_not_read"]:
        lost = copies["images_not_read"]
        log.warning("folds: %d images cannot be read: copies of them are not found. Run validate_tables again", lost)
    if copies["not_compared"]:
        log.warning("folds: too many images look alike: %d pairs were not compared", copies["not_compared"])
    if many := copies["images_without_search_for_crops"]:
        log.info("folds: cropped copies were not looked for: %d images are more than %d", many, MOST_IMAGES)


def outside_lines(outside: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The shares beyond the tolerance, one line per type or answer, each with what kept the folds uneven."""
    for (column, value), entries in groupby(outside, key=itemgetter("column", "value")):
        off = list(entries)
        shares = ", ".join(f"{100 * entry['share']:.1f} % of fold {entry['fold']}" for entry in off)
        reach = f"its {off[0]['rows']} rows lie in groups of up to {off[0]['largest_group']}"
        one_row = 100 * max(entry["one_row"] for entry in off)
        whole = f"{100 * off[0]['whole']:.1f} % of all rows"
        yield f"{column} {value} ({whole}) is {shares}: {reach}, and one row is {one_row:.1f} points"
