"""The two READMEs say the same: what would mislead readers of one of them if they grew apart."""

import re
from collections import Counter

import pytest

from places import ROOT

ENGLISH, KOREAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
HEADING = re.compile(r"^(#+) .+$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# A figure is a number of two digits or more, or with a decimal point (float16 is a name); single digits may be words.
FIGURE = re.compile(r"(?<![\w.])(?:\d[\d,]*\.\d+|\de-\d+|\d[\d,]*\d)")
OTHER_README = {"README.ko.md", "README.md"}


def sections(text: str) -> list[tuple[str, str]]:
    """The level of each heading, and the text below it."""
    marks = list(HEADING.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [(mark[1], text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


PAIRS = list(zip(sections(ENGLISH), sections(KOREAN), strict=False))
NAMES = [match[0].strip("# ") for match in HEADING.finditer(ENGLISH)]
each_section = pytest.mark.parametrize(("english", "korean"), PAIRS, ids=NAMES[: len(PAIRS)])


def commands(text: str) -> list[str]:
    """What the indented lines say before their comments; drawings and other words of a language are left out."""
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in text.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.isascii()]


def cells(text: str) -> list[list[str]]:
    """The cells of the tables' rows."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]


def test_both_have_the_same_sections():
    """A section that only one language has is news to the readers of the other."""
    assert [level for level, _ in sections(KOREAN)] == [level for level, _ in sections(ENGLISH)]


@each_section
def test_a_section_shows_the_same_commands(english, korean):
    """A command that changed in one README would fail for the readers of the other."""
    assert commands(korean[1]) == commands(english[1])


@each_section
def test_a_section_names_the_same_keys_files_and_links(english, korean):
    """A renamed key or a moved page would be looked for under its old name."""
    assert set(CODE.findall(korean[1])) == set(CODE.findall(english[1]))
    links = [set(LINK.findall(text)) - OTHER_README for _, text in (english, korean)]
    assert {link.partition("#")[0] for link in links[1]} == {link.partition("#")[0] for link in links[0]}


@each_section
def test_a_section_has_the_same_tables(english, korean):
    """A row that is missing hides a model, a profile or a command."""
    shapes = [[len(row) for row in cells(text)] for _, text in (english, korean)]
    assert shapes[1] == shapes[0]


@each_section
def test_a_section_has_the_same_figures(english, korean):
    """A number that was measured again must change in both."""
    figures = [Counter(FIGURE.findall(text)) for _, text in (english, korean)]
    assert figures[1] == figures[0]
