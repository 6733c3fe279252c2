"""Every page's links lead somewhere: to a file of the repository and, with #, to a heading in it."""

import re
from functools import lru_cache
from pathlib import Path

import pytest

from places import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SPAN = re.compile(r"`[^`\n]*`")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@lru_cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in HEADING.findall(text)]
    return frozenset(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain)


def links(page: Path) -> list[str]:
    """The links of a page, without its code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return LINK.findall(SPAN.sub("", text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    """The first thing that a reader clicks must be there."""
    for link in links(page):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name(page)}: {link}"
        assert target.is_relative_to(ROOT.resolve()), f"{name(page)}: {link} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link} names no heading"


def test_every_page_is_in_the_index():
    """A page that the index does not name is not found."""
    index = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    recipes = {(DOCS / "recipes" / link).resolve() for link in links(DOCS / "recipes" / "README.md")}
    measured = {(DOCS / "benchmarks" / link).resolve() for link in links(DOCS / "benchmarks" / "README.md")}
    missing = [name(page) for page in PAGES[2:] if page.resolve() not in index | recipes | measured]
    assert missing == ["docs/README.md"], "name them in docs/README.md"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_files_exist(page):
    """Files of the repository that a page names in `code`: a renamed one would be looked for in vain."""
    text = page.read_text(encoding="utf-8")
    tops = ("docs/", "profiles/", "schemas/", "tests/", "rules/", "assets/", "envs/", "workflow_scripts/")
    for span in re.findall(r"`([^`\n ]+)`", text):
        if span.startswith(tops) and not re.search(r"[{}*<>…]|NAME|RULE", span):
            assert (ROOT / span.split("::")[0].split("#")[0]).exists(), f"{name(page)}: {span}"
