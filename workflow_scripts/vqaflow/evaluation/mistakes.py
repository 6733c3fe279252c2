"""The gallery of evaluate_oof: mistakes.html, the OOF answers with their pictures, the wrong ones first.

Shapes: N rows, C choices.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import PEOPLE, letters_in, probabilities_in
from vqaflow.artifacts.rows import shares_in
from vqaflow.evaluation.gallery.page import EXCERPT_LIMIT, LIMIT, LISTED_ROWS, OOF, Card, Gallery, write_gallery
from vqaflow.reporting.agreement import counts_of

PAGE, EXCERPT = "mistakes.html", "mistakes_excerpt.html"
LIMITS = {PAGE: LIMIT, EXCERPT: EXCERPT_LIMIT}
Notes = Mapping[str, list[str]]


def write_mistakes(rows: pd.DataFrame, folder: Path, notes: Notes | None = None) -> None:
    """Write the page of `rows` (see evidence.read_oof_rows) and an excerpt of it for Snakemake's report.

    Rows are listed up to the page's limit: first the wrong ones, the most confident first, then the right ones, the
    least confident first. The page says how many are not listed. `notes` are lines about rows, by their ids.
    """
    ordered = listing_order(rows)
    counts = {"total": len(rows), "wrong": int((~rows["right"]).sum())}
    about = Gallery(OOF, "OOF answers, wrong ones first", "Out-of-fold answers", letters_in(rows), counts)
    files = zip(records(ordered), ordered["sha256"], ordered["image_file"], strict=True)
    cards = [Card(record, sha256, file, notes=(notes or {}).get(record[0], [])) for record, sha256, file in files]
    write_gallery(about, cards, {folder / name: limit for name, limit in LIMITS.items()}, "wrong ones")


def listing_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The first `LISTED_ROWS` rows, in the order in which pages are filled."""
    doubt = rows["confidence"].where(rows["right"], -rows["confidence"])
    order = rows.assign(doubt=doubt).sort_values(["right", "doubt", "id"], kind="stable").index
    return rows.loc[order[:LISTED_ROWS]]


def records(rows: pd.DataFrame) -> Iterator[list[Any]]:
    """Each row as a list in the order of the script's `FIELDS`, up to its picture.

    The text of a choice that a row lacks is None.
    """
    columns = [
        rows["id"].tolist(),
        rows["question"].tolist(),
        choice_texts(rows),
        rows["qtype"].tolist(),
        rows["fold"].tolist(),
        rows["answer_index"].tolist(),
        rows["predicted"].tolist(),
        rows[probabilities_in(rows)].to_numpy().round(4).tolist(),
        given_answers(rows),
    ]
    yield from map(list, zip(*columns, strict=True))


def choice_texts(rows: pd.DataFrame) -> list[list[str | None]]:
    """The texts of each row's choices; None for one that it lacks."""
    choices = rows[list(letters_in(rows))].fillna("").to_numpy().tolist()
    return [[text or None for text in texts] for texts in choices]


def given_answers(rows: pd.DataFrame) -> list[list[int]]:
    """How many people gave each choice; empty for rows with one answer."""
    shares_NC = shares_in(rows)
    if shares_NC is None:
        return [[]] * len(rows)
    counts_NC = counts_of(shares_NC, rows[PEOPLE].to_numpy()).astype(int)
    return [counts_C.tolist() if counts_C.sum() > 1 else [] for counts_C in counts_NC]
