"""Which columns of someone's probability file are the id and the choices.

Shapes: C choices.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqaflow.artifacts.probability_tables import ID_NAMES, RawTable
from vqaflow.runtime.errors import UserError

SAID = r"(?:prob|probs|proba|probability|pred|class|choice|option)"
# p_a, pa, prob_a, prob_0, and a (to j) or 0 alone; but not proba, choices or n, which are other columns.
CHOICE = re.compile(rf"(?P<prefix>p[\s_.-]*|{SAID}[\s_.-]+)(?P<key>[a-z]|\d\d?)|(?P<bare>[a-j]|\d\d?)")
NOT_PROBABILITIES = re.compile(r"(logits?|scores?|log_?p|log_?probs?|nll|loss)[\s_.-]*([a-z]|\d\d?)")
PANDAS_INDEX = "__index_level_0__"  # how pandas names an index without a name in a parquet file


@dataclass(frozen=True)
class Layout:
    """Column numbers: of the id, and of each choice (C)."""

    id: int
    choices: list[int]


def find_layout(table: RawTable, letters: Sequence[str]) -> Layout:
    """Find the id and one column per letter by their names.

    Raises UserError if either cannot be told for certain: a column too few, too many or twice.
    """
    at = _id_column(table)
    families = _families(table, at)
    complete = [family for family in families.values() if _known(family, letters) == set(letters)]
    if len(complete) > 1:  # a table's columns a, b, … beside p_a, p_b, … are the choices' texts
        complete = [family for family in complete if _is_numeric(table, family)] or complete
    if len(complete) > 1:
        raise UserError(
            f"{table.path}: has each choice twice, as {_names(table, complete[0])} and as "
            f"{_names(table, complete[1])}. Keep one column per choice."
        )
    if not complete:
        _raise_incomplete(table, families, letters)
    family = complete[0]
    if strange := [numbers[0] for letter, numbers in family.items() if letter not in letters]:
        raise UserError(
            f"{table.path}: has a column {table.names[strange[0]]!r}, but the choices of the tables are "
            f"{', '.join(letters)}. Delete or rename the column."
        )
    if doubled := [numbers for numbers in family.values() if len(numbers) > 1]:
        both = " and ".join(repr(table.names[i]) for i in doubled[0])
        raise UserError(f"{table.path}: the columns {both} are of one choice. Keep one of them.")
    return Layout(at, [family[letter][0] for letter in letters])


def _id_column(table: RawTable) -> int:
    """The column named like an id, else the first column if it is not a choice's."""
    names = [name.strip().casefold() for name in table.names]
    for wanted in (*ID_NAMES, PANDAS_INDEX):
        found = [i for i, name in enumerate(names) if name == wanted]
        if len(found) > 1:
            raise UserError(f"{table.path}: {len(found)} columns are named {wanted}. Keep one of them.")
        if found:
            return found[0]
    if CHOICE.fullmatch(names[0]) or NOT_PROBABILITIES.fullmatch(names[0]):
        raise UserError(
            f"{table.path}: has no column of ids, only {', '.join(table.names)}. Add a column id: rows are matched by "
            "it, never by their order."
        )
    return 0


def _families(table: RawTable, id_column: int) -> dict[tuple[bool, bool], dict[str, list[int]]]:
    """Columns that look like choices, by letter (`0` or `1` for the first); p_a and a, or a and 0, are two families."""
    by_key: dict[tuple[bool, bool], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, name in enumerate(table.names):
        if i != id_column and (match := CHOICE.fullmatch(name.strip().casefold())):
            key = match["key"] or match["bare"]
            by_key[bool(match["prefix"]), key.isdecimal()][key].append(i)
    for (_, numbered), family in by_key.items():
        if numbered:
            first = 0 if "0" in family else 1
            for key in list(family):
                family[chr(ord("a") + int(key) - first)] += family.pop(key)
    return by_key


def _known(family: dict[str, list[int]], letters: Sequence[str]) -> set[str]:
    return family.keys() & set(letters)


def _is_numeric(table: RawTable, family: dict[str, list[int]]) -> bool:
    """Whether all cells of these columns are numbers."""
    try:
        for numbers in family.values():
            np.asarray(table.columns[numbers[0]], dtype=np.float64)
    except ValueError:
        return False
    return True


def _names(table: RawTable, family: dict[str, list[int]]) -> str:
    return ", ".join(table.names[i] for numbers in family.values() for i in numbers)


def _raise_incomplete(table: RawTable, families: dict, letters: Sequence[str]) -> None:
    """Raise UserError that says which choices have no column."""
    wanted = ", ".join(f"p_{letter}" for letter in letters)
    others = [name for name in table.names if NOT_PROBABILITIES.fullmatch(name.strip().casefold())]
    if others:
        raise UserError(
            f"{table.path}: its columns {', '.join(others)} are not probabilities by their names. Apply softmax to "
            f"logits or scores, or exp to log-probabilities, and name the columns {wanted}."
        )
    best = max(families.values(), key=lambda family: len(_known(family, letters)), default={})
    if not _known(best, letters):
        raise UserError(
            f"{table.path}: no column is named after a choice; it has {', '.join(table.names)}. Name them {wanted}."
        )
    missing = ", ".join(letter for letter in letters if letter not in best)
    raise UserError(
        f"{table.path}: has {_names(table, best)}, but no column for the choice {missing}. Add it: one column per "
        f"choice, {wanted}."
    )
