"""Pages that are made from files say what the files say: nobody has to remember to write them again."""

import json

import pytest

from docs_pages import example
from places import ROOT

DOCS = ROOT / "docs"


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def test_the_reference_is_the_schema():
    """A key that the page lacks is not found, and one that is gone stops the run of who believed the page."""
    assert text("docs/configuration.md") == example("configuration").page(), "python docs/examples/configuration.py"


def test_the_tables_of_benchmarks_are_their_files():
    """A number without a file is one that nobody measured."""
    assert text("docs/benchmarks/README.md") == example("benchmarks").page(), "python docs/examples/benchmarks.py"


@pytest.mark.parametrize("readme", ["README.md", "README.ko.md"])
def test_the_readmes_table_is_made_from_the_files(readme):
    """The first numbers that a reader sees."""
    made = example("benchmarks")
    assert made.with_table(text(readme), readme) == text(readme), "python docs/examples/benchmarks.py"


def test_a_row_of_several_runs_shows_its_spread():
    """A table of medians alone would make every run look alike."""
    spread = {"min": 0.1, "median": 0.2, "max": 0.4}
    row = {"part": "decoder", "batch": 4, "s/row": 0.2, "peak GiB": 1.0, "spread": {"runs": 3, "s/row": spread}}
    made = example("benchmarks")
    assert "| 0.2 | 0.1 to 0.4, 3 runs |" in made.table([row], ["part", "batch"])[-1]
    del row["spread"]
    assert "| 0.2 | one run |" in made.table([row], ["part", "batch"])[-1]


def test_every_benchmark_file_is_shown():
    """A file that no page shows is a measurement that readers do not learn of."""
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    for file in (DOCS / "benchmarks").glob("*.json"):
        json.loads(file.read_text(encoding="utf-8"))
        assert f"({file.name})" in pages or f"(benchmarks/{file.name})" in pages, file.name


def test_the_pictures_are_those_that_the_code_draws():
    """A picture that was changed by hand would be lost at the next drawing."""
    for name, drawn in example("pictures").pictures().items():
        assert text(f"docs/pictures/{name}") == drawn, "python docs/examples/pictures.py"
