"""The gallery of mistakes in a real browser: whole by itself, safe against what stands in the tables, quick to use."""

import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from people import with_answers
from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.evaluation import mistakes
from vqaflow.evaluation.gallery import page as gallery_page
from vqaflow.evaluation.gallery.page import LIMIT, OWN_BYTES, as_json
from vqaflow.evaluation.gallery.pictures import large_size, make_pictures
from vqaflow.evaluation.mistakes import EXCERPT, PAGE, write_mistakes

LETTERS = ALL_LETTERS[:4]

NASTY = '</script><script>document.title=1</script><img src="http://192.0.2.1/x" onerror="alert(1)"> "\'&amp; \u2028'
TYPES = ("counting", "ocr", "color")


def make_rows(folder, count, wrong_each=4, seed=0):
    """Rows as evaluate_oof.read_oof_rows makes them; every `wrong_each`-th is wrong, and two rows share a picture."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"id": [f"train_{i:04d}" for i in range(count)]})
    rows["question"] = [f"그림 {i}에 적힌 글자는 무엇인가요?" for i in range(count)]
    for letter in LETTERS:
        rows[letter] = [f"선택지 {letter}{i}" for i in range(count)]
    rows["qtype"] = [TYPES[i % 3] for i in range(count)]
    rows["fold"] = np.arange(count) // 4 % 2
    p_NC = rng.dirichlet([0.6] * 4, count)
    rows[["p_a", "p_b", "p_c", "p_d"]] = p_NC
    rows["predicted"] = p_NC.argmax(1)
    rows["answer_index"] = (rows["predicted"] + (np.arange(count) % wrong_each == 0)) % 4
    rows["right"] = rows["predicted"] == rows["answer_index"]
    rows["confidence"] = p_NC.max(1)
    folder.mkdir(exist_ok=True)
    files = [folder / f"{i}.png" for i in range((count + 1) // 2)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((240, 180)).save(file)
    rows["image_file"] = [str(files[i // 2]) for i in range(count)]
    rows["sha256"] = [f"{i // 2:064x}" for i in range(count)]
    return rows


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """120 rows, 30 of them wrong; the first has markup in every text."""
    folder = tmp_path_factory.mktemp("gallery")
    rows = make_rows(folder / "images", 120)
    rows.loc[0, ["question", *LETTERS]] = NASTY
    rows.loc[0, "id"] = "<b>0</b>"
    write_mistakes(rows, folder)
    return folder, rows


def test_page_shows_the_wrong_rows_and_asks_nobody_for_anything(page, gallery):
    """A page that loads a font or script from elsewhere would show others what someone is looking at."""
    folder, rows = gallery
    page.open(folder / PAGE)
    assert page.run("element('status').textContent") == "30 of 120 rows (30 wrong), page 1 of 2"
    wrong = rows[~rows["right"]].sort_values("confidence", ascending=False)
    assert page.run("[...document.querySelectorAll('article')].map(card => card.dataset.id)") == list(wrong["id"][:24])
    assert page.run("[...document.images].every(i => i.naturalWidth === 240 && i.naturalHeight === 180)")
    assert {url.split(":")[0] for url in page.requests} == {"file", "data"}
    assert page.requests[0] == (folder / PAGE).resolve().as_uri() and page.errors == []


def test_no_text_of_a_table_becomes_markup(page, gallery):
    """Questions are written by strangers."""
    folder, _ = gallery
    page.open(folder / PAGE, "#q=onerror")
    assert page.run("document.title") == "OOF answers, wrong ones first"
    assert page.run("document.querySelector('.question').textContent") == NASTY
    assert page.run("[...document.querySelectorAll('.text')].map(t => t.textContent)") == [NASTY] * 4
    assert page.run("document.querySelectorAll('article script, article b b, article img[src^=http]').length") == 0
    assert page.errors == []


def test_the_policy_stops_what_would_slip_through(page, gallery, tmp_path):
    """The second lock: even markup that got into the page could run no script and reach no address."""
    folder, _ = gallery
    text = (folder / PAGE).read_text(encoding="utf-8")
    forced = '<script>document.title = "owned"</script><img src="http://192.0.2.1/x" onerror="document.title = 1">'
    (tmp_path / "forced.html").write_text(text.replace("<noscript>", forced + "<noscript>"), encoding="utf-8")
    page.open(tmp_path / "forced.html")
    assert page.run("document.title") == "OOF answers, wrong ones first"
    assert any("violates the following Content Security Policy" in error for error in page.errors)


@pytest.mark.parametrize(
    ("fragment", "keep"),
    [
        ("#type=ocr&fold=1&wrong=1", lambda r: (r["qtype"] == "ocr") & (r["fold"] == 1) & ~r["right"]),
        ("#wrong=0&fold=0", lambda r: r["right"] & (r["fold"] == 0)),
        ("#wrong=all&type=color", lambda r: r["qtype"] == "color"),
        ("#wrong=all&q=%EA%B7%B8%EB%A6%BC%2077", lambda r: r["question"].str.contains("그림 77")),
    ],
)
def test_an_address_filters(page, gallery, fragment, keep):
    """A link to "the wrong OCR rows of fold 1" is what one sends to a colleague."""
    folder, rows = gallery
    page.open(folder / PAGE, fragment)
    assert page.run("found.map(row => row.id).sort()") == sorted(rows.loc[keep(rows), "id"]) != []
    assert page.run("document.querySelectorAll('article').length") == min(24, keep(rows).sum())


@pytest.mark.parametrize("value", ["__proto__", "constructor", "toString", "hasOwnProperty", "nonsense", ""])
@pytest.mark.parametrize("key", ["wrong", "sort", "type", "fold", "theme", "page", "__proto__"])
def test_an_address_with_an_unknown_value_shows_the_page_as_it_begins(page, gallery, key, value):
    """A link of an older run, or of somebody's fun: an empty page would look like a run without mistakes."""
    folder, rows = gallery
    page.open(folder / PAGE, f"#{key}={value}")
    assert page.run("found.length") == (~rows["right"]).sum() and not page.errors
    assert page.run("document.querySelectorAll('article').length") > 0 and page.run("location.hash") == ""


@pytest.mark.parametrize(
    ("sort", "by", "ascending"),
    [("confident", "confidence", False), ("doubtful", "confidence", True), ("id", "id", True)],
)
def test_rows_sort(page, gallery, sort, by, ascending):
    folder, rows = gallery
    ordered = rows.round({"confidence": 4}).sort_values([by, "id"], ascending=[ascending, True])
    page.open(folder / PAGE, f"#wrong=all&sort={sort}")
    assert page.run("found.map(row => row.id)") == list(ordered["id"])


def test_keys_page_step_and_filter(page, gallery):
    folder, _ = gallery
    page.open(folder / PAGE, "#wrong=all")
    page.press("ArrowRight")
    assert page.run("location.hash") == "#wrong=all&page=2"
    page.press("End")
    page.press("ArrowRight")
    assert page.run("[state.page, element('next').disabled]") == ["5", True]
    page.press("ArrowLeft")
    page.press("Home")
    assert page.run("[state.page, element('previous').disabled]") == ["1", True]
    page.press("j")
    page.press("j")
    page.press("k")
    page.press("j")
    assert page.run("document.activeElement.dataset.id === found[1].id")
    page.press("w")
    assert page.run("location.hash") == "" and page.run("found.length") == 30
    page.press("/")
    page.press("7")
    assert page.run("[document.activeElement.id, state.q]") == ["q", "7"]
    page.press("w")  # typed into the field, no command
    assert page.run("[state.q, state.wrong]") == ["7w", "1"]
    page.press("Escape")
    page.press("w")
    assert page.run("state.wrong") == "0"


def test_dark_mode_follows_the_system_until_it_is_chosen(page, gallery):
    folder, _ = gallery
    background = "getComputedStyle(document.body).backgroundColor"
    page.prefer("light")
    page.open(folder / PAGE)
    light = page.run(background)
    page.prefer("dark")
    dark = page.run(background)
    page.click("#theme")
    assert page.run(background) == light != dark
    page.press("t")
    page.prefer("light")
    assert page.run(background) == dark and page.run("location.hash") == "#theme=dark"


def test_a_phone_needs_no_sideways_scrolling(page, gallery):
    folder, _ = gallery
    page.resize(360, 700)
    page.open(folder / PAGE, "#wrong=all&q=onerror")
    assert page.run("document.documentElement.scrollWidth") == 360


def test_four_thousand_rows_stay_smooth(page, tmp_path):
    """Only the rows of one page are in the document, however many are listed."""
    rows = make_rows(tmp_path / "images", 40)
    many = pd.concat([rows.assign(id=rows["id"] + f"_{i}") for i in range(100)], ignore_index=True)
    write_mistakes(many, tmp_path)
    page.open(tmp_path / PAGE, "#wrong=all")
    assert page.run("element('status').textContent") == "4,000 of 4,000 rows (1,000 wrong), page 1 of 167"
    assert page.run("document.querySelectorAll('article').length") == 24
    seconds = page.run(
        "(() => { const began = performance.now(); for (let i = 0; i < 20; i++) change({q: String(i)});"
        "return (performance.now() - began) / 20000; })()"
    )
    assert seconds < 0.5  # 0.003 on an idle machine


def data_of(path):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text())[1])


def test_a_page_that_would_grow_too_large_keeps_the_worst_rows_and_says_so(tmp_path, monkeypatch):
    rows = make_rows(tmp_path / "images", 200)
    monkeypatch.setattr(mistakes, "LIMITS", {PAGE: 250_000, EXCERPT: 80_000})
    write_mistakes(rows, tmp_path)
    whole, excerpt = data_of(tmp_path / PAGE), data_of(tmp_path / EXCERPT)
    ids = [row[0] for row in whole["rows"]]
    wrong = rows[~rows["right"]].sort_values("confidence", ascending=False)["id"]
    unsure = rows[rows["right"]].sort_values("confidence")["id"]
    assert ids == [*wrong, *unsure][: len(ids)] and 50 < len(ids) < 200
    assert [row[0] for row in excerpt["rows"]] == ids[: len(excerpt["rows"])]
    assert whole["note"].startswith(f"{200 - len(ids)} rows do not fit") and PAGE in excerpt["note"]
    for path, limit in ((tmp_path / PAGE, 250_000), (tmp_path / EXCERPT, 80_000)):
        assert 0.8 * (limit - OWN_BYTES) < path.stat().st_size <= limit


def test_pictures_are_large_where_there_is_room(tmp_path, monkeypatch):
    """A page of 500 rows should not keep half of its bytes empty; no row may be left out for a large picture."""
    rows = make_rows(tmp_path / "images", 40)
    monkeypatch.setattr(gallery_page, "LARGE_SHARE", 0)
    widths = {}
    for limit in (2_000_000, 150_000):
        monkeypatch.setattr(mistakes, "LIMITS", {PAGE: limit})
        write_mistakes(rows, tmp_path)
        data = data_of(tmp_path / PAGE)
        widths[limit] = [size[0] for size in data["sizes"]]
        assert len(data["rows"]) == 40
    assert widths[2_000_000] == 20 * [240]
    assert set(widths[150_000]) == {240, 160} and widths[150_000] == sorted(widths[150_000], reverse=True)


def test_pictures_of_one_file_are_in_the_page_once(tmp_path):
    write_mistakes(make_rows(tmp_path / "images", 40), tmp_path)
    data = data_of(tmp_path / PAGE)
    assert len(data["rows"]) == 40 and len(data["pictures"]) == 20 and data["note"] == ""
    assert {row[9] for row in data["rows"]} == set(range(20))


def test_a_lost_picture_leaves_its_row(tmp_path, caplog, monkeypatch):
    """Evaluation may run where the images are not; what is missing is reported."""
    rows = make_rows(tmp_path / "images", 8)
    (tmp_path / "images" / "0.png").unlink()
    monkeypatch.setattr("vqaflow.runtime.stage.log.propagate", True)
    write_mistakes(rows, tmp_path)
    places = {row[0]: row[9] for row in data_of(tmp_path / PAGE)["rows"]}
    assert places["train_0000"] == places["train_0001"] == -1 and min(places["train_0002"], places["train_0003"]) >= 0
    assert "1 pictures cannot be read" in caplog.text and "0.png" in caplog.text


def test_equal_rows_make_equal_pages(tmp_path):
    rows = make_rows(tmp_path / "images", 40)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_mistakes(rows.sample(frac=1, random_state=1) if name == "second" else rows, tmp_path / name)
    assert (tmp_path / "first" / PAGE).read_bytes() == (tmp_path / "second" / PAGE).read_bytes()


def test_json_in_a_script_element_reads_back():
    assert json.loads(as_json([NASTY])) == [NASTY]
    assert not set("<>&\u2028\u2029") & set(as_json([NASTY]))


def test_a_page_of_photographs_stays_of_a_size_that_a_laptop_opens(tmp_path):
    """Of 5,000 photographs, the first 400 are large, and at least 2,000 more are on the page as small ones."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg")
    made = make_pictures({"x": str(tmp_path / "photo.jpg")}, LIMIT)
    small, large = made.small["x"], made.large["x"]
    assert (small.sizes, large.sizes) == ([160, 120, 1600, 1200], [640, 480, 1600, 1200])
    assert (
        large_size(80, 1100) == (80, 1100) and large_size(3000, 15) == (2048, 10) and large_size(9000, 1) == (2048, 1)
    )
    assert 400 * len(large.data) < LIMIT / 2 and 2000 * (len(small.data) + 600) < LIMIT / 2


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium is installed (Debian: chromium fonts-nanum)")
def test_the_page_renders_from_the_command_line(gallery, tmp_path):
    """Without a driver, as a script or a previewer would open it."""
    folder, rows = gallery
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    page = f"{(folder / PAGE).resolve().as_uri()}#type=ocr&fold=1"
    dom = subprocess.run([*command, page], capture_output=True, text=True, timeout=120).stdout
    assert (
        dom.count("<article") == len(rows.query("qtype == 'ocr' and fold == 1 and not right")) > 0
        and "적힌 글자는" in dom
    )


def test_the_answers_of_several_people_stand_beside_the_choices(page, tmp_path):
    """Where three of five said otherwise, a wrong answer is another matter than where all agreed."""
    rows = make_rows(tmp_path / "images", 8)
    given = ["aaabb" if i % 2 else letter for i, letter in enumerate("abcdabcd")]
    write_mistakes(with_answers(rows, given).assign(answer_index=0, right=False), tmp_path)
    page.open(tmp_path / PAGE, "#wrong=all&sort=id")
    texts = page.run("[...document.querySelectorAll('article')].map(c => c.querySelectorAll('.text')[1].textContent)")
    assert texts == [f"선택지 b{i} (2 of 5 people)" if i % 2 else f"선택지 b{i}" for i in range(8)]
    assert page.errors == []
