"""Parts of pages: whatever a file, a run or a setting is called, it is shown as text."""

import pytest

from vqaflow.evaluation.pages.html_page import (
    Cell,
    Span,
    box,
    cards,
    folded,
    heading,
    intervals,
    page,
    paragraphs,
    table,
)

NASTY = '<script>alert("1")</script>&'


@pytest.mark.parametrize(
    "made",
    [
        heading(NASTY),
        paragraphs([NASTY]),
        paragraphs([NASTY], "soft"),
        box(NASTY, [NASTY]),
        cards([box(NASTY, [NASTY])]),
        table([NASTY, NASTY], [[Cell(NASTY), Cell(NASTY, "good")]], NASTY),
        table([NASTY, NASTY], [[Cell(NASTY), Cell(NASTY)]], NASTY),
        folded(NASTY, ""),
        intervals([Span(NASTY, 0.5, (0.4, 0.6), NASTY, True)], NASTY),
        page(NASTY, [NASTY], []),
    ],
)
def test_texts_are_escaped_in_every_part(made):
    assert "<script" not in made and 'alert("' not in made and "&lt;script" in made


def test_points_lie_between_their_bounds():
    """Equal bounds of all, as with a single group, must not divide by zero."""
    assert 'cx="50.00%"' in intervals([Span("a", 0.5, (0.4, 0.6), "")], "")
    assert "nan" not in intervals([Span("a", 0.5, (0.5, 0.5), "")], "")


def test_long_names_may_break_behind_dots():
    """`members.main.train.learning_rate` fits into a phone's column."""
    assert "members.<wbr>main.<wbr>learning_<wbr>rate" in table(["x"], [[Cell("members.main.learning_rate")]], "x")
