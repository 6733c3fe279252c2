"""Ids that are one for the eye, or for Excel, and two for a program."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from functools import cached_property, partial

from vqaflow.data.images.decoding import EXTENSIONS
from vqaflow.data.normal_form import KEPT_FORMAT_CHARACTERS

SUFFIX = re.compile(rf"({'|'.join(re.escape(s) for suffixes in EXTENSIONS.values() for s in sorted(suffixes))})$")
DASHES = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
SIGNS = "'\"`´‘’“”#"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY = re.compile(r"\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/ ][A-Za-z]{3}|[A-Za-z]{3}[-/ ]\d{1,2}|\d{1,2}월 ?\d{1,2}일")
THOUSANDS = ",'’ \u00a0\u2009\u202f"  # what stands between groups of digits in some country
NUMBER = re.compile(
    rf"[+-]?(\d{{1,3}}(?P<mark>[{THOUSANDS}])\d{{3}}((?P=mark)\d{{3}})*|\d+)(\.\d+)?([eE][+-]?\d{{1,3}})?"
)


class NearIds:
    """The ids of a table by forms in which near ones are equal."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = ids

    @cached_property
    def by_form(self) -> list[dict[str, str]]:
        """The ids by each form, made at the first question: most tables ask none.

        An id that is not the only one with a looser form is left out.
        """
        tables = [{near_form(row_id): row_id for row_id in self.ids}]
        for loose in LOOSE_FORMS:
            forms = [(loose(row_id), row_id) for row_id in self.ids]
            counts = Counter(form for form, _ in forms)
            tables.append({form: row_id for form, row_id in forms if form and counts[form] == 1})
        return tables

    def near(self, row_id: str) -> tuple[str, str] | None:
        """An id that is nearly `row_id`, and how the two differ."""
        for form, known in zip((near_form, *LOOSE_FORMS), self.by_form, strict=True):
            other = known.get(form(row_id))
            if other is not None and other != row_id:
                return other, difference(row_id, other)
        return None


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
        value = Decimal(re.sub(f"[{THOUSANDS}]", "", text))
        return format(value.normalize(), "f") if value else "0"
    except InvalidOperation:
        return text


def near_form(text: str) -> str:
    """The form in which near ids are equal."""
    form = DASHES.sub("-", unicodedata.normalize("NFKC", visible_form(text))).casefold()
    return re.sub(r"0*(\d+)", r"\1", number_form(SUFFIX.sub("", form.strip(SIGNS))))


def bare_form(text: str) -> str:
    """The near form without the folders before it, and with one sign for spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "_", near_form(re.split(r"[/\\]", text)[-1]))


def rounded_form(text: str, digits: int) -> str:
    """A long number with as many `digits` as a spreadsheet shows or keeps; "" for others."""
    form = number_form(visible_form(text))
    is_long = NUMBER.fullmatch(form) and len(form) > 9
    return f"{Decimal(form):.{digits - 1}e}" if is_long else ""


def only_number(text: str) -> str:
    """The number in an id that has one, without leading zeros; "" for others."""
    found = re.findall(r"\d+", text)
    return found[0].lstrip("0") or "0" if len(found) == 1 else ""


def day_form(text: str) -> str:
    """Two numbers that a spreadsheet takes for a day (``1-3``, ``3-Jan``, ``01월 03일``), the smaller one first."""
    words = re.findall(r"\d+|[a-z]+", near_form(text))
    months = [MONTHS.index(word[:3]) + 1 for word in words if word[:3] in MONTHS]
    numbers = [int(word) for word in words if word.isdecimal()]
    pair = [*months, *numbers] if len(words) == 2 else numbers if len(numbers) == 2 else []
    return "-".join(map(str, sorted(pair))) if len(pair) == 2 and DAY.fullmatch(text.strip()) else ""


LOOSE_FORMS: tuple[Callable[[str], str], ...] = (
    bare_form,
    partial(rounded_form, digits=15),
    partial(rounded_form, digits=6),
    day_form,
    only_number,
)


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
        "signs around it": lambda t: t.strip(SIGNS),
        "its folder": lambda t: re.split(r"[/\\]", t)[-1],
        "spaces, hyphens or underscores": lambda t: re.sub(r"[\s_-]+", "_", t),
        "digits that a spreadsheet has rounded": lambda t: rounded_form(t, 6) or t,
        "how a spreadsheet writes a day": lambda t: day_form(t) or t,
        "what stands around its number": lambda t: only_number(t) or t,
    }
    return next((name for name, way in ways.items() if way(one) == way(other)), "several signs")
