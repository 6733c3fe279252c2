"""Matching the ids of someone's probability file to those of the table, which are text.

Shapes: N rows of the table.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqaflow.artifacts.probability_tables import Column
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

AS_TEXT = "Write the ids as text, unchanged (pandas: pd.read_csv(…, dtype={'id': str}))"


@dataclass(frozen=True)
class WantedRows:
    """The rows that a file must have: all `ids`, called `name`; and those it may have.

    `left_out` are ids of rows that the tables left out, `other_ids` those of the other table, called `other_name`.
    """

    ids: Sequence[str]
    name: str = "table"
    left_out: Collection[str] = ()
    other_ids: Collection[str] = ()
    other_name: str = "other table"


def id_texts(column: Column) -> list[str]:
    """Ids as text: whole numbers without a point, others as Python shows them."""
    return [str(value) for value in (column.tolist() if isinstance(column, np.ndarray) else column)]


def match_ids(path: Path, found: Sequence[str], wanted: WantedRows) -> tuple[np.ndarray, list[str]]:
    """For each wanted row its number in the file (N), and notes.

    Raises UserError for ids that are empty, unknown, twice or missing, and says so if only their form differs.
    """
    table = set(wanted.ids)
    left_out = set(filter(None, wanted.left_out)) - table  # a problem of a whole file has no id
    unknown = [row_id for row_id in found if row_id not in table and row_id not in left_out]
    number_of = {row_id: number for number, row_id in enumerate(found)}
    missing = [row_id for row_id in wanted.ids if row_id not in number_of]
    if unknown:
        _raise_unknown(path, unknown, missing, wanted)
    counts = Counter(found)
    if twice := [row_id for row_id in wanted.ids if counts[row_id] > 1]:
        raise UserError(f"{path}: has ids more than once: {some(twice)}. Keep one row per id.")
    if missing:
        raise UserError(
            f"{path}: has no row for {len(missing)} of the {len(wanted.ids)} rows of the {wanted.name}: "
            f"{some(missing)}. Write one row per row of the table; if the file ends too early, it may be cut off."
        )
    dropped = list(dict.fromkeys(row_id for row_id in found if row_id in left_out))
    notes = [f"{path}: {len(dropped)} rows that the tables left out are not read: {some(dropped)}"] if dropped else []
    return np.array([number_of[row_id] for row_id in wanted.ids], dtype=np.int64), notes


def _raise_unknown(path: Path, unknown: Sequence[str], missing: Sequence[str], wanted: WantedRows) -> None:
    """Raise UserError that explains ids which are not in the table."""
    if empty := sum(not row_id.strip() for row_id in unknown):
        raise UserError(f"{path}: {empty} rows have no id. Fill in the ids, or delete the rows.")
    others = [row_id for row_id in unknown if row_id in wanted.other_ids]
    if others and missing and 2 * len(others) > len(wanted.other_ids):
        raise UserError(
            f"{path}: has the rows of the {wanted.other_name}, not of the {wanted.name}: {some(others)}. Swap the two "
            "files: oof is of the training rows, test of the test rows."
        )
    if others:
        raise UserError(
            f"{path}: has rows of the {wanted.other_name} as well: {some(others)}. Put them into a file of their own."
        )
    true_form = {_loose(row_id): row_id for row_id in missing}
    pairs = [(row_id, true_form[_loose(row_id)]) for row_id in unknown if _loose(row_id) in true_form]
    if 2 * len(pairs) >= len(unknown):
        mine, true = pairs[0]
        raise UserError(
            f"{path}: its ids are those of the {wanted.name}, written differently: {mine!r} for {true!r} "
            f"({_difference(mine, true)}), in {len(pairs)} rows. {AS_TEXT}."
        )
    raise UserError(
        f"{path}: has ids that are not in the {wanted.name}: {some(unknown)} (the {wanted.name} has "
        f"{some(list(wanted.ids)[:2])}). Correct the ids, or delete these rows."
    )


def _loose(row_id: str) -> str:
    """The part of an id that programs do not change: no spaces, quotes, letter case, leading zeros or `.0`."""
    text = unicodedata.normalize("NFKC", row_id).strip(" \t\"'\ufeff").casefold()
    try:
        number = float(text)
    except ValueError:
        return text
    return repr(number) if np.isfinite(number) else text


def _difference(mine: str, true: str) -> str:
    """What is different in two forms of one id."""
    if mine.strip() == true.strip():
        return "spaces around it"
    if unicodedata.normalize("NFKC", mine) == unicodedata.normalize("NFKC", true):
        return "the same text in another Unicode form"
    if mine.casefold() == true.casefold():
        return "upper and lower case"
    if mine.strip("\"'") == true.strip("\"'"):
        return "quotation marks"
    if mine.lstrip("0") == true.lstrip("0"):
        return "leading zeros, which Excel and pandas remove"
    if mine.removesuffix(".0") == true or true.removesuffix(".0") == mine:
        return "a whole number with .0, as pandas writes a column that has an empty cell"
    return "one number in two forms, as Excel writes them"
