"""The table of models in docs/models.md, in both languages, says what the families' modules say."""

import re

import pytest

from places import ROOT
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import FAMILIES, family_of

# On each page: how choice orders are computed, by Family.prefix, and the words for "does not work" and "works".
WORDS = {
    "models.md": ({"mask": "share by mask", "state": "share by state", "separate": "separate passes"}, "no", "yes"),
    "models.ko.md": (
        {"mask": "마스크로 공유", "state": "상태로 공유", "separate": "순서마다 따로"},
        "불가",
        "가능",
    ),
}


def cells_of(page: str) -> dict[str, list[str]]:
    """The cells of each row of the table, by `model_type`."""
    rows = re.findall(r"^\| ([^|]+ \| `\w+` \| [^|]+/.*) \|$", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    return {cells[1].strip("`"): cells for cells in (row.split(" | ") for row in rows)}


def expected(family: Family, page: str) -> tuple[str, str, bool, bool]:
    """The example, the way of choice orders, whether float16 does not work, and whether NF4 simply works."""
    return family.example, WORDS[page][0][family.prefix], bool(family.float16), not family.nf4


@pytest.mark.parametrize("page", WORDS)
def test_each_family_has_a_row_that_is_true(page):
    """A user who trusts the table would otherwise rent the wrong GPU, or not learn that a model works."""
    no, yes = WORDS[page][1:]
    shown = {
        kind: (example, way, float16 == no, nf4 == yes)
        for kind, (_, _, example, way, _, float16, nf4) in cells_of(page).items()
    }
    assert shown == {kind: expected(family, page) for family in FAMILIES for kind in family.kinds}


@pytest.mark.parametrize("page", WORDS)
def test_the_name_of_each_family_is_in_its_row(page):
    """Messages name families as the code does; users look for these names in the table."""
    for family in FAMILIES:
        for kind in family.kinds:
            assert cells_of(page)[kind][0].startswith(re.sub(r" [\d.]+$| \(.*", "", family.name)), family.name


@pytest.mark.parametrize("page", WORDS)
def test_the_last_row_is_any_other_class(page):
    """Unknown classes run in separate passes; the table must not promise them more."""
    last = re.findall(r"^\| [^|`]+ \|\s+\|\s+\| ([^|]+) \|", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    assert last == [WORDS[page][0][family_of("of-no-family").prefix]]
