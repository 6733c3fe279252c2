"""The READMEs' table of models says what the families' modules say."""

import re

import pytest

from places import ROOT
from vqaflow.model.families.family import Family
from vqaflow.model.families.known import FAMILIES, family_of

# In each README: how choice orders are computed, by Family.prefix, and the words for "does not work" and "works".
WORDS = {
    "README.md": ({"mask": "share by mask", "state": "share by state", "separate": "separate passes"}, "no", "yes"),
    "README.ko.md": (
        {"mask": "마스크로 공유", "state": "상태로 공유", "separate": "순서마다 따로"},
        "불가",
        "가능",
    ),
}


def cells_of(readme: str) -> dict[str, list[str]]:
    """The cells of each row of the table, by `model_type`."""
    rows = re.findall(r"^\| ([^|]+ \| `\w+` \| [^|]+/.*) \|$", (ROOT / readme).read_text("utf-8"), re.MULTILINE)
    return {cells[1].strip("`"): cells for cells in (row.split(" | ") for row in rows)}


def expected(family: Family, readme: str) -> tuple[str, str, bool, bool]:
    """The example, the way of choice orders, whether float16 does not work, and whether NF4 simply works."""
    return family.example, WORDS[readme][0][family.prefix], bool(family.float16), not family.nf4


@pytest.mark.parametrize("readme", WORDS)
def test_each_family_has_a_row_that_is_true(readme):
    """A user who trusts the table would otherwise rent the wrong GPU, or not learn that a model works."""
    no, yes = WORDS[readme][1:]
    shown = {
        kind: (example, way, float16 == no, nf4 == yes)
        for kind, (_, _, example, way, _, float16, nf4) in cells_of(readme).items()
    }
    assert shown == {kind: expected(family, readme) for family in FAMILIES for kind in family.kinds}


@pytest.mark.parametrize("readme", WORDS)
def test_the_name_of_each_family_is_in_its_row(readme):
    """Messages name families as the code does; users look for these names in the table."""
    for family in FAMILIES:
        for kind in family.kinds:
            assert cells_of(readme)[kind][0].startswith(re.sub(r" [\d.]+$| \(.*", "", family.name)), family.name


@pytest.mark.parametrize("readme", WORDS)
def test_the_last_row_is_any_other_class(readme):
    """Unknown classes run in separate passes; the table must not promise them more."""
    last = re.findall(r"^\| [^|`]+ \|\s+\|\s+\| ([^|]+) \|", (ROOT / readme).read_text("utf-8"), re.MULTILINE)
    assert last == [WORDS[readme][0][family_of("of-no-family").prefix]]
