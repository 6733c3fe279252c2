"""The gallery of test answers in a real browser: what will be handed in, the least certain first."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from results_world import ensemble, evaluate, make_results, several_members, show, submit
from vqaflow.evaluation.show_answers import excerpt_of
from vqaflow.runtime.errors import UserError

P = ["p_a", "p_b", "p_c", "p_d"]


def make_world(folder, **options):
    """A results folder with a submission."""
    make_results(folder, **options)
    ensemble(folder)
    return folder


def write_submission(folder, name=str):
    """The submission of a results folder; `name` turns letters into the competition's labels."""
    best = pd.read_parquet(folder / "ensemble" / "test.parquet")
    letters = np.array(list("abcd"))[best[P].to_numpy().argmax(1)]
    answers = pd.DataFrame({"id": best["id"], "answer": [name(letter) for letter in letters]})
    answers.to_csv(folder / "submission.csv", index=False)
    return answers.set_index("id")["answer"]


def data_of(path):
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text())[1])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One member with three folds, and a submission whose labels are numbers."""
    folder = make_world(tmp_path_factory.mktemp("one") / "results", test_rows=40)
    answers = write_submission(folder, lambda letter: str("abcd".index(letter) + 1))
    return folder, show(folder), answers


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A member of each kind."""
    base = tmp_path_factory.mktemp("several")
    folder = make_world(base / "results", test_rows=40, members=several_members(base))
    write_submission(folder)
    return folder, show(folder)


def test_the_least_certain_answers_come_first_in_the_submission_s_labels(page, world):
    """What one looks at before handing in is what is handed in, not the letters inside."""
    folder, path, answers = world
    page.open(path)
    best = pd.read_parquet(folder / "ensemble" / "test.parquet")
    ordered = best.assign(p=best[P].max(axis=1).round(4)).sort_values(["p", "id"])["id"]
    shown = page.run(
        "[...document.querySelectorAll('article')].map(c => [c.dataset.id, c.querySelector('b').textContent])"
    )
    assert shown == [[row_id, f"answer {answers[row_id]}"] for row_id in ordered[:24]]
    assert page.run("element('status').textContent") == "40 of 40 rows, page 1 of 2"
    chosen = page.run("document.querySelector('li.chosen .letter').textContent")
    assert chosen.startswith("abcd"[int(answers[ordered.iloc[0]]) - 1]) and "given answer" in chosen
    assert {url.split(":")[0] for url in page.requests} == {"file", "data"} and page.errors == []


def test_no_right_answer_is_known_or_claimed(page, world):
    _, path, _ = world
    page.open(path)
    assert page.run("document.querySelectorAll('.answer, .right, .wrong, #wrong, #fold').length") == 0
    assert "fold -1" not in page.run("document.body.innerText")


def test_one_member_s_folds_vote(world):
    """With nothing to disagree, a row of which half the adapters say otherwise would look as certain as any."""
    folder, path, _ = world
    data = data_of(path)
    assert data["voters"] == ["fold 0", "fold 1", "fold 2"]
    views = pl.read_parquet(folder / "members" / "main" / "test_views.parquet")
    for row in data["rows"]:
        for fold, vote in zip("012", row[10], strict=True):
            mine = views.filter((pl.col("id") == row[0]) & (pl.col("part") == fold))
            p = np.nanmean(
                [
                    [np.exp(mine[f"{view}_{letter}"][0] or np.nan) for letter in "abcd"]
                    for view in ("original", "hflip")
                ],
                0,
            )
            assert vote == p.argmax()


def test_members_vote_and_rows_are_found_by_their_votes(page, several):
    folder, path = several
    data = data_of(path)
    assert sorted(data["voters"]) == ["friend", "main", "other", "untuned"]
    for place, name in enumerate(data["voters"]):
        answers = pd.read_parquet(folder / "members" / name / "test.parquet").set_index("id")
        for row in data["rows"]:
            assert row[10][place] == answers.loc[row[0], P].to_numpy().argmax()
    differ = {row[0] for row in data["rows"] if len({*row[10], row[6]}) > 1}
    page.open(path, "#votes=differ")
    assert set(page.run("found.map(row => row.id)")) == differ and 0 < len(differ) < 40
    page.press("v")
    assert set(page.run("found.map(row => row.id)")) == {row[0] for row in data["rows"]} - differ
    page.open(path, "#sort=dissent")
    dissent = page.run("found.map(row => row.dissent)")
    assert dissent == sorted(dissent, reverse=True) and dissent[0] > 0
    assert re.search(r"\d of 4 votes for it: \w+ [abcd], ", page.run("document.querySelector('article').innerText"))


@pytest.mark.parametrize(
    "fragment", ["wrong=1", "wrong=__proto__", "fold=0", "votes=constructor", "sort=loss", "%E0%A4%A"]
)
def test_an_address_of_the_other_gallery_shows_all_answers(page, world, fragment):
    _, path, _ = world
    page.open(path, f"#{fragment}")
    assert page.run("found.length") == 40 and page.run("document.querySelectorAll('article').length") == 24
    assert page.errors == [] and page.run("location.hash") == ""


def test_a_type_narrows_the_answers(page, world):
    _, path, _ = world
    kinds = [row[3] for row in data_of(path)["rows"]]
    page.open(path, f"#type={kinds[0]}")
    assert page.run("found.length") == kinds.count(kinds[0]) < 40


def test_a_row_without_an_image_is_still_there(page, tmp_path):
    """It is answered, and so it is shown."""
    folder = make_world(tmp_path / "results", test_rows=12)
    write_submission(folder)
    table = pd.read_parquet(folder / "tables/test.parquet")
    table.loc[:3, "sha256"] = None
    table.to_parquet(folder / "tables/test.parquet", index=False)
    path = show(folder)
    assert sorted(row[0] for row in data_of(path)["rows"]) == sorted(table["id"])
    page.open(path)
    assert page.run("document.querySelectorAll('article').length") == 12
    assert page.run("document.querySelectorAll('span.picture').length") == 4 and page.errors == []


def test_what_was_read_in_an_image_stands_below_its_row(tmp_path):
    folder = make_world(tmp_path / "results", test_rows=12)
    write_submission(folder)
    for path in folder.glob("scores/main/test/*/original.parquet"):
        scores = pl.read_parquet(path)
        scores.with_columns(transcript=pl.lit("EXIT 24")).write_parquet(path)
    notes = [row[12] for row in data_of(show(folder))["rows"]]
    assert notes == [["original read: EXIT 24"]] * 12


def test_rows_without_an_answer_are_refused(world, tmp_path):
    """Those of another run, and the last one of a file that was cut short."""
    folder = shutil.copytree(world[0], tmp_path / "results")
    path = folder / "submission.csv"
    whole = path.read_text()
    for text, words in (("id,answer\nother,1\n", "has no answer for rows 'test_0000'"), (whole[:-2], "is damaged")):
        path.write_text(text)
        with pytest.raises(UserError, match=rf"submission\.csv: {words}.* write_submission again"):
            show(folder)
    (folder / "submission.csv").unlink()
    with pytest.raises(UserError, match=r"submission\.csv: is missing\. Run the rule write_submission\."):
        show(folder)


def test_equal_results_give_equal_pages(world):
    folder, path, _ = world
    before = path.read_bytes(), excerpt_of(path).read_bytes()
    assert (show(folder).read_bytes(), excerpt_of(path).read_bytes()) == before


def test_a_picture_enlarges_and_steps_on_by_keys(page, tmp_path):
    """Bottles cannot be counted at 120 × 160; nobody should have to use a mouse."""
    folder = make_world(tmp_path / "results", test_rows=8)
    for path in (folder / "images").glob("test_*.png"):
        Image.effect_noise((900, 600), 50).save(path)
    write_submission(folder)
    page.open(show(folder))
    image = "document.querySelector('#stage img')"
    page.press("j")
    page.press("e")
    first = page.run("enlarged.id")
    assert page.run("element('large').open") and first == page.run("found[0].id")
    page.wait(f"{image}.complete")
    assert page.run(f"[{image}.naturalWidth, {image}.getBoundingClientRect().width > 600]") == [679, True]
    said = page.run("element('large-title').textContent")
    assert said.endswith("row 1 of 8 · a copy of 679 × 453 of 900 × 600 pixels")
    assert "votes for it" in page.run("element('large-text').textContent")
    page.press("ArrowRight")
    assert page.run("[enlarged.id === found[1].id, state.page]") == [True, "1"]
    page.press("z")
    assert page.run("element('large-zoom').ariaPressed") == "true"
    page.press("Escape")
    page.wait("!element('large').open && document.activeElement.closest('article')?.dataset.id === found[1].id")
    page.click("article:nth-child(3) .enlarge")
    assert page.run("enlarged.id === found[2].id")
    page.click("#large-close")
    page.wait("!element('large').open")
    assert page.errors == []


def test_pictures_have_names_that_are_read_aloud(page, world):
    _, path, _ = world
    page.open(path)
    assert page.run(
        "[...document.querySelectorAll('article')].every(c => c.ariaLabel.startsWith(c.dataset.id)"
        " && c.querySelector('button').ariaLabel.includes(c.dataset.id) && c.querySelector('h2'))"
    )


def test_submit_and_show_agree(tmp_path):
    """The rule's own submission has an answer for each row that is shown."""
    folder = make_world(tmp_path / "results", test_rows=12)
    evaluate(folder)
    submit(folder)
    shown = {row[0]: row[11] for row in data_of(show(folder))["rows"]}
    written = pd.read_csv(folder / "submission.csv").set_index("id")["answer"].to_dict()
    assert shown == written
