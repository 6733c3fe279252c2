"""Pages in a real browser: texts of strangers and addresses that somebody made up control nothing."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import naughty
from vqaflow.evaluation.mistakes import PAGE, write_mistakes
from vqaflow.evaluation.pages.html_page import Cell, Span, box, cards, folded, heading, intervals, paragraphs, table
from vqaflow.evaluation.pages.html_page import page as whole_page

TEXTS = [text for text in naughty.ALL if len(text) < 5000]
TITLE = "OOF answers, wrong ones first"
# Addresses of the page, and how many rows they show: all of them, or none (what is sought is not there).
ALL, NONE = len(TEXTS), 0
FRAGMENTS = {
    "#wrong=__proto__": ALL,
    "#wrong=constructor&sort=__proto__&type=toString&fold=hasOwnProperty": ALL,
    "#__proto__=1&constructor=2": ALL,
    "#wrong=1&wrong=all": ALL,
    "#page=-1": ALL,
    "#page=1e99": ALL,
    "#page=NaN": ALL,
    "#page=0x10": ALL,
    "#page=": ALL,
    "#sort=<script>document.title=1</script>": ALL,
    '#theme="><script>document.title=1</script>': ALL,
    "#%E0%A4%A": ALL,
    "#%00": ALL,
    "#&&&===&": ALL,
    "#q=%3Cscript%3Edocument.title%3D1": None,
    "#q=.*%5B(%5C": NONE,
    "#q=%F0%9F%98%80nowhere": NONE,
    "#q=" + "x" * 30_000: NONE,
    "#fold=99": ALL,
    "#javascript:document.title=1": ALL,
}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A row for each naughty text, which stands in all its cells; every answer is wrong."""
    folder, count = tmp_path_factory.mktemp("gallery"), len(TEXTS)
    Image.new("RGB", (40, 30), (200, 30, 40)).save(folder / "0.png")
    rows = pd.DataFrame({"id": [f"{text} {i}" for i, text in enumerate(TEXTS)], "question": TEXTS})
    for letter in "abcd":
        rows[letter] = [f"{text} {letter}" for text in TEXTS]
    p_NC = np.tile([0.4, 0.3, 0.2, 0.1], (count, 1))
    rows[["p_a", "p_b", "p_c", "p_d"]] = p_NC
    rows = rows.assign(qtype="general", fold=0, predicted=0, answer_index=1, right=False, confidence=0.4)
    rows = rows.assign(image_file=str(folder / "0.png"), sha256="0" * 64)
    write_mistakes(rows, folder)
    return folder / PAGE


def require_untouched(page) -> None:
    """No script of a text ran, nothing was asked of the network, nothing went wrong."""
    assert page.run("document.title") == TITLE and page.errors == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data"}
    assert (
        page.run("document.querySelectorAll('iframe, object, embed, base, svg, main script, main style').length") == 0
    )


def test_every_naughty_text_is_shown_as_it_is(page, gallery):
    page.errors.clear()
    page.open(gallery)
    shown = page.run("rows.map(row => [row.question, ...row.choices])")
    assert sorted(shown) == sorted([text, *(f"{text} {letter}" for letter in "abcd")] for text in TEXTS)
    seen = []
    for number in range(page.run("pages()")):
        page.run(f"turn({number + 1})")
        seen += page.run("[...document.querySelectorAll('article h2.question')].map(one => one.textContent)")
        require_untouched(page)
    assert sorted(seen) == sorted(TEXTS)
    enlarged = "found.map(row => { enlarge(row); return document.querySelector('#large-text h2').textContent; })"
    assert sorted(page.run(enlarged)) == sorted(TEXTS)
    require_untouched(page)


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_an_address_that_means_nothing_does_nothing(page, gallery, fragment):
    """An empty page would look like a run without mistakes."""
    page.errors.clear()
    page.open(gallery, fragment)
    wanted = FRAGMENTS[fragment]
    if wanted is None:
        wanted = sum("<script>document.title=1" in text for text in TEXTS)
    assert page.run("found.length") == wanted
    assert page.run("document.querySelectorAll('article').length") == min(24, wanted) or "page" in fragment
    require_untouched(page)


def test_every_part_of_a_page_shows_naughty_names_as_text(page, tmp_path):
    """Names of runs, members, files and settings are the user's."""
    texts = [text for text in TEXTS if text.isprintable()]
    path = tmp_path / "page.html"
    parts = [
        *(part for text in texts for part in (heading(text), paragraphs([text]), paragraphs([text], "soft"))),
        cards(box(text, [text]) for text in texts),
        table(
            texts[:5],
            [[Cell(text), *[Cell(text, "good")] * 4] for text in texts],
            '"><script>document.title=1</script>',
        ),
        *(folded(text, paragraphs([text])) for text in texts),
        intervals([Span(text, 0.5, (0.4, 0.6), text, True) for text in texts], texts[0]),
    ]

    path.write_text(whole_page("Title", texts, parts), encoding="utf-8")
    page.errors.clear()
    page.open(path)
    assert page.run("[...document.querySelectorAll('main > h2')].map(one => one.textContent)") == texts
    assert page.run("[...document.querySelectorAll('header p')].map(one => one.textContent)") == texts
    assert (
        page.run("document.querySelectorAll('script, iframe, base, img, [onload], [onerror], main style').length") == 0
    )
    assert page.run("document.title") == "Title" and page.errors == []
    assert page.requests == [path.as_uri()]
