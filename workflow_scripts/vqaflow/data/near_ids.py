"""Ids that are one for the eye, or for Excel, and two for a program."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from functools import cached_property

from vqaflow.data.images.decoding import EXTENSIONS
from vqaflow.data.normal_form import KEPT_FORMAT_CHARACTERS

SUFFIX = re.compile(rf"({'|'.join(re.escape(s) for suffixes in EXTENSIONS.values() for s in sorted(suffixes))})$")
DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][+-]?\d{1,3})?")


class NearIds:
    """The ids of a table by a form in which near ones are equal."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = ids

    @cached_property
    def by_form(self) -> dict[str, str]:
        """Made at the first question: most tables ask none."""
        return {near_form(row_id): row_id for row_id in self.ids}

    def near(self, row_id: str) -> tuple[str, str] | None:
        """An id that is nearly `row_id`, and how the two differ."""
        other = self.by_form.get(near_form(row_id))
        return None if other is None or other == row_id else (other, difference(row_id, other))


class SeenIds(dict[str, int]):
    """The ids of a file with the lines they stand first in; `odd` has those that are not what they look like."""

    def __init__(self) -> None:
        super().__init__()
        self.odd: dict[str, str] = {}

    def note(self, row_id: str, line: int) -> None:
        """Add an id, unless it is there."""
        self.setdefault(row_id, line)
        if (form := visible_form(row_id)) != row_id:
            self.odd.setdefault(form, row_id)

    def twin(self, row_id: str) -> str | None:
        """An id that looks the same and is another one."""
        form = visible_form(row_id)
        twin = self.odd.get(form) or (form if form in self else None)
        return None if twin == row_id else twin


def visible_form(text: str) -> str:
    """The text as the eye reads it: without spaces around it, invisible characters and differences of Unicode form."""
    if (
        text.isascii()
        and text.isprintable()
        and not text.startswith(" ")
        and not text.endswith(" ")
        and "  " not in text
    ):
        return text
    kept = (c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c in KEPT_FORMAT_CHARACTERS)
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def number_form(text: str) -> str:
    """A number without what spreadsheets add or drop, ``0001``, ``1.0`` and ``1e0`` as 1; other texts unchanged."""
    if not NUMBER.fullmatch(text):
        return text
    try:
        value = Decimal(text.replace(",", ""))
        return format(value.normalize(), "f") if value else "0"
    except InvalidOperation:
        return text


def near_form(text: str) -> str:
    """The form in which near ids are equal."""
    form = DASHES.sub("-", unicodedata.normalize("NFKC", visible_form(text))).casefold()
    return re.sub(r"0*(\d+)", r"\1", number_form(SUFFIX.sub("", form)))


def difference(one: str, other: str) -> str:
    """How two ids of one near form differ, in words."""
    ways = {
        "spaces around it": str.strip,
        "Unicode form (NFC and NFD)": lambda t: unicodedata.normalize("NFC", t),
        "spaces or invisible characters": lambda t: visible_form(t).replace(" ", ""),
        "upper and lower case": str.casefold,
        "leading zeros": lambda t: re.sub(r"0*(\d+)", r"\1", t),
        "how the number is written": number_form,
        "its extension": lambda t: SUFFIX.sub("", t.casefold()),
        "full-width letters or dashes": lambda t: DASHES.sub("-", unicodedata.normalize("NFKC", t)),
    }
    return next((name for name, way in ways.items() if way(one) == way(other)), "several signs")
