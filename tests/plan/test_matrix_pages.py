"""The table of docs/models.md, in both languages, of what fits on which card is what `vqaflow plan --matrix` prints."""

from functools import lru_cache

import pytest
import yaml

from places import ROOT
from vqaflow.config.sections import TrainConfig, section
from vqaflow.plan.plan_text import matrix_lines

CURE = "paste what `vqaflow plan --matrix` prints"


@lru_cache
def printed() -> tuple[str, str]:
    """The table and the sentence below it."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    table, _, note = "\n".join(matrix_lines(section(TrainConfig, config["train"]))).partition("\n\n")
    return table, note


@pytest.mark.parametrize("page", ["models.md", "models.ko.md"])
def test_the_table_is_what_the_command_prints(page):
    """Users choose a model and a card by it."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"\n\n{printed()[0]}\n\n" in text, f"docs/{page} promises what `vqaflow plan` does not: {CURE}"


def test_the_sentence_below_says_what_the_numbers_mean():
    """Other visual tokens, orders or ranks would give other numbers."""
    words = " ".join((ROOT / "docs" / "models.md").read_text(encoding="utf-8").split())
    assert printed()[1] in words, f"docs/models.md explains other numbers than those of its table: {CURE}"
