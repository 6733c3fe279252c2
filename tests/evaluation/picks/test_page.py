"""Candidates read from a results folder, the page in a real browser, and the command."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from browser import browser
from results_world import several_members
from runs_world import make_run
from vqaflow.artifacts.columns import probability_columns
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.commands.tools.picks import public_score
from vqaflow.ensemble.submission.answers import accepted_of_run
from vqaflow.evaluation.picks.advise import advise
from vqaflow.evaluation.picks.candidates import CURRENT, MEAN, read_candidates
from vqaflow.evaluation.picks.page import PAGE, pick_page
from vqaflow.evaluation.picks.wording import described
from vqaflow.evaluation.runs.kept import keep
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_json

PROBABILITIES = probability_columns("abcd")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run of four members, in whose tables the demo's ids stand."""
    folder = tmp_path_factory.mktemp("picks") / "results"
    folder.mkdir()
    make_run(folder, members=several_members(folder), test_rows=80)
    keep(ResultsFolder(folder), "first")
    return folder


def paths(results):
    at = ResultsFolder(results)
    return {
        "train_table": at.table("train"),
        "test_table": at.table("test"),
        "folds": at.folds,
        "oof": at.probabilities("oof"),
        "test": at.probabilities("test"),
        "members": {name: at.member(name).folder for name in at.members()},
    }


def read(results, runs=(), files=()):
    at = ResultsFolder(results)
    accepted = accepted_of_run(at.labels, at.table("test"))
    return read_candidates(**paths(results), runs=dict(runs), files=list(files), accepted=accepted)


def names(found):
    return {name for one in found.all for name in (one.name, *one.same)}


def write_answers(path, ids, answers, header=("id", "answer")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *zip(ids, answers, strict=True)])
    return path


@pytest.fixture
def submitted(results):
    """Ids and answers of the current submission."""
    with (results / "submission.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    return [row[0] for row in rows], [row[1] for row in rows]


def test_every_pool_is_a_candidate(results):
    members = {"main", "other", "untuned", "friend"}
    expected = {CURRENT, MEAN, *(f"member {m}" for m in members), *(f"{MEAN} without {m}" for m in members)}
    found = read(results)
    assert names(found) == expected and found.all[0].name == CURRENT
    assert all(one.oof_N is not None for one in found.all)


def test_the_same_answers_are_one_candidate(results, submitted, tmp_path):
    """A file that equals the current submission has its OOF accuracy, and is no second selection."""
    ids, answers = submitted
    same = write_answers(tmp_path / "old.csv", ids[::-1], answers[::-1])
    found = read(results, {"first": results / "runs" / "first"}, [same])
    assert {"run first", same.as_posix(), MEAN} <= set(found.all[0].same)
    assert len({tuple(one.test_N) for one in found.all}) == len(found.all)
    assert found.place("old.csv") == found.place("current") == found.place("first") == 0


def test_answers_are_matched_by_id(results, submitted, tmp_path):
    """Files of other engines are in another order."""
    ids, answers = submitted
    answers = ["a" if i == "test_0003" else answer for i, answer in zip(ids, answers, strict=True)]
    rows = sorted(zip(ids, answers, strict=True), key=lambda row: row[1])
    other = write_answers(tmp_path / "new.csv", *zip(*rows, strict=True))
    found = read(results, files=[other])
    place = found.place("new.csv")
    differing = (found.all[place].test_N != found.all[0].test_N).sum()
    assert differing == (dict(zip(*submitted, strict=True))["test_0003"] != "a") or place == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids, answers: (ids[1:], answers[1:]), "ids 'test_0000' of the test table are missing"),
        (lambda ids, answers: ([*ids, "x"], [*answers, "a"]), "ids 'x' are not in the test table"),
        (lambda ids, answers: ([*ids, ids[0]], [*answers, "a"]), "an id occurs more than once"),
        (
            lambda ids, answers: (ids, ["A", *answers[1:]]),
            "answers 'A' are not those of the submission, which is written a to d",
        ),
    ],
)
def test_files_of_other_rows_or_labels_are_refused(results, submitted, tmp_path, change, message):
    """A count of differing answers between unlike rows would be nonsense."""
    with pytest.raises(UserError, match=message):
        read(results, files=[write_answers(tmp_path / "bad.csv", *change(*submitted))])


def test_a_file_with_more_columns_is_refused(results, tmp_path):
    (tmp_path / "bad.csv").write_text("id,answer,note\nx,a,b\n", encoding="utf-8")
    with pytest.raises(UserError, match="it has 3 columns. Give a submission of two"):
        read(results, files=[tmp_path / "bad.csv"])


def test_a_kept_run_of_other_training_rows_has_no_oof_accuracy_here(results, tmp_path):
    other = tmp_path / "another"
    (other / "ensemble").mkdir(parents=True)
    for split in ("oof", "test"):
        frame = pd.read_parquet(results / "ensemble" / f"{split}.parquet")
        frame = frame.iloc[1:] if split == "oof" else frame.assign(p_a=0.999)
        frame.to_parquet(other / "ensemble" / f"{split}.parquet")
    found = read(results, {"another": other})
    assert found.all[found.place("another")].oof_N is None
    assert found.notes[-1:] == ["run another: its training rows are others, so its OOF accuracy is not comparable."]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda oof: oof.unlink(), "is missing"),
        (lambda oof: oof.write_bytes(b"PAR1"), "is damaged"),
        (lambda oof: pd.read_parquet(oof).drop(columns="p_a").to_parquet(oof), "is damaged"),
        (lambda oof: doubled(oof), "an id occurs more than once"),
    ],
)
def test_damage_of_a_kept_run_is_not_taken_for_other_training_rows(results, tmp_path, harm, message):
    """The run would lose its OOF accuracy, and with it its place among the picks, for a false reason."""
    other = shutil.copytree(results / "ensemble", tmp_path / "another" / "ensemble").parent
    harm(other / "ensemble" / "oof.parquet")
    with pytest.raises(UserError, match=f"another/ensemble/oof.parquet: {message}"):
        read(results, {"another": other})


def doubled(oof):
    """Give the first row twice and lose the last one."""
    frame = pd.read_parquet(oof)
    pd.concat([frame.iloc[:1], frame.iloc[:-1]]).to_parquet(oof)


def test_notes_of_members_are_shown(results, tmp_path):
    """An in-fold file looks better than it is: without its note it would be picked in good faith."""
    noted = shutil.copytree(results, tmp_path / "noted")
    at = ResultsFolder(noted)
    write_json(at.member("friend").note, {"note": "this may be in-fold"})
    write_json(at.member("main").note, {"name": "main"})
    write_json(at.member("other").note, {"note": ""})
    at.member("untuned").note.unlink()
    found = read_candidates(**paths(noted), runs={}, files=[])
    assert found.notes == ["member friend: this may be in-fold"]
    pick_page(**paths(noted), out=tmp_path / PAGE)
    assert "member friend: this may be in-fold" in (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "note: member friend: this may be in-fold" in list(described(advise(found)))


@pytest.mark.parametrize("harm", ["lost rows", "damaged"])
def test_a_broken_member_is_named(results, tmp_path, harm):
    bad = tmp_path / "main"
    bad.mkdir()
    for split in ("oof", "test"):
        pd.read_parquet(results / "members" / "main" / f"{split}.parquet").iloc[1:].to_parquet(bad / f"{split}.parquet")
    if harm == "damaged":
        (bad / "oof.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"main/oof.parquet: (it is of other rows|is damaged)"):
        read_candidates(**paths(results) | {"members": {"main": bad}}, runs={}, files=[])


def test_an_unknown_name_is_refused_with_the_known_ones(results):
    found = read(results)
    with pytest.raises(UserError, match="--public nobody: there is no such candidate. Name one of current submission"):
        found.place("nobody")
    assert found.all[found.place("untuned")].name == "member untuned"
    place = found.place("without untuned")
    assert f"{MEAN} without untuned" in (found.all[place].name, *found.all[place].same)


def test_a_name_that_may_mean_two_candidates_is_refused(results, tmp_path):
    """A public score that stands beside the wrong file turns the advice around."""
    other = tmp_path / "x"
    (other / "ensemble").mkdir(parents=True)
    for split in ("oof", "test"):
        frame = pd.read_parquet(results / "ensemble" / f"{split}.parquet").assign(p_a=0.999)
        frame.to_parquet(other / "ensemble" / f"{split}.parquet")
    found = read(results, {"main": other})
    with pytest.raises(UserError, match="--public main: several candidates have this name"):
        found.place("main")
    assert found.place("run main") != found.place("member main")


def test_a_run_with_one_member_says_what_to_add(tmp_path):
    """There is one submission and no choice: no table of noise helps then."""
    made = make_run(tmp_path / "results", train_rows=60, test_rows=20)
    advice = pick_page(**paths(made), out=tmp_path / PAGE)
    assert len(advice.entries) == 1 and len(advice.picks) == 1
    assert "There is no second candidate" in (tmp_path / PAGE).read_text(encoding="utf-8")


# --- the page ---


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return pick_page(**paths(results), out=folder / PAGE), folder / PAGE


def test_the_page_shows_picks_and_pairs_and_asks_nobody_for_anything(page, made):
    advice, path = made
    page.resize(1300, 900)
    page.open(path)
    titles = page.run("[...document.querySelectorAll('.card h3')].map(t => t.textContent)")
    assert [title.split(":")[0] for title in titles] == ["Pick 1", "Pick 2"]
    for title, pick in zip(titles, advice.picks, strict=True):
        assert advice.entries[pick.place].name in title
    pairs = page.run("[...document.querySelectorAll('[aria-label=\"pairs with pick 1\"] tbody tr')].length")
    assert pairs == len(advice.entries) - 1
    assert page.run("document.querySelectorAll('figure li').length") == len(advice.entries)
    assert page.requests == [path.resolve().as_uri()] and page.errors == []


@pytest.mark.parametrize("width", [360, 390, 1300])
def test_a_phone_needs_no_sideways_scrolling(page, made, width):
    page.resize(width, 800)
    page.open(made[1])
    assert page.run("document.documentElement.scrollWidth") == width
    page.run("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.run("document.documentElement.scrollWidth") == width


def test_dark_mode_follows_the_system(page, made):
    seen = []
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.open(made[1])
        seen.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert seen[0] != seen[1]


def test_no_name_becomes_markup(page, results, submitted, tmp_path):
    """A file's name is text, whoever has named it."""
    ids, answers = submitted
    nasty = tmp_path / "<img src=x onerror=alert(1)>.csv"
    write_answers(nasty, ids, ["a"] * len(ids))
    done = run_command("picks", nasty, "--results", results, "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    page.errors.clear()
    page.open(tmp_path / "page.html")
    assert page.run("document.querySelectorAll('img').length") == 0 and page.errors == []
    assert "onerror" in page.run("document.body.innerText")


def test_equal_input_makes_equal_bytes(results, made, tmp_path):
    pick_page(**paths(results), out=tmp_path / PAGE)
    assert (tmp_path / PAGE).read_bytes() == made[1].read_bytes()


# --- the command ---


def run_command(*arguments, cwd=None):
    command = [sys.executable, "-m", "vqaflow", *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=cwd)


def test_command_prints_advice_and_writes_page_json_and_files(results, submitted, tmp_path):
    ids, answers = submitted
    old = write_answers(tmp_path / "old.csv", ids, ["a", "b", *answers[2:]])
    done = run_command(
        *("picks", "--results", results, "--public", "current=0.90", f"{old}=0.91", "untuned=60"),
        *("--tried", 7, "--out", tmp_path / "p.html", "--json", tmp_path / "p.json", "--write", tmp_path / "chosen"),
        "first",
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Pick 2: ", done.stdout, re.MULTILINE) and "Of 7 submissions" in done.stdout
    advice = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert len(advice["picks"]) == 2 and advice["board"] == {"rows": 80, "public": 40}
    assert {entry["public"] for entry in advice["entries"]} >= {0.9, 0.91, 0.6}
    assert "old.csv" in (tmp_path / "p.html").read_text(encoding="utf-8")
    with (results / "submission.csv").open(encoding="utf-8", newline="") as file:
        header, *_ = csv.reader(file)
    for number, pick in enumerate(advice["picks"], start=1):
        with (tmp_path / "chosen" / f"pick{number}.csv").open(encoding="utf-8", newline="") as file:
            first, *rows = csv.reader(file)
        assert first == header and [row[0] for row in rows] == ids
        if advice["entries"][pick["place"]]["name"] == CURRENT:
            assert [row[1] for row in rows] == answers


@pytest.mark.parametrize(
    ("text", "score", "step"),
    [
        ("0.941", 0.941, 0.001),
        ("0.9410", 0.941, 0.0001),
        ("94.1", 0.941, 0.001),
        ("94.1%", 0.941, 0.001),
        ("95", 0.95, 0.01),
        ("0.9", 0.9, 0.1),
        ("1", 1.0, 0.01),
        ("0", 0.0, 0.01),
        ("0.5%", 0.005, 0.001),
        ("9.41e-1", 0.941, 0.001),
    ],
)
def test_the_step_of_a_public_score_is_that_of_its_decimals(text, score, step):
    name, *numbers = public_score(f"old.csv={text}")
    assert name == "old.csv" and numbers == pytest.approx([score, step])


def test_command_counts_rounding_by_the_coarsest_score(results):
    """On 40 public rows a step of 0.1 is four answers: three too many are then rounding, and a mistake otherwise."""
    found = read(results)
    differing = (found.all[0].test_N != found.all[found.place("main")].test_N).sum()
    lower = f"main={(36 - differing - 3) / 40:.4f}"
    coarse = run_command("picks", "--results", results, "--public", "current=0.9", lower)
    fine = run_command("picks", "--results", results, "--public", "current=0.900", lower)
    assert coarse.returncode == fine.returncode == 0, coarse.stderr + fine.stderr
    assert "Check the public scores" in fine.stdout and "no public score counts" in fine.stdout
    assert "Check the public scores" not in coarse.stdout


@pytest.mark.parametrize("labels", ["1234", "ABCD", "texts"])
def test_picks_are_read_and_written_in_the_submission_s_labels(results, tmp_path, labels):
    """A file of letters would count as all wrong where the competition writes numbers or texts."""
    other = shutil.copytree(results, tmp_path / "other")
    at = ResultsFolder(other)
    written = "texts" if labels == "texts" else dict(zip("abcd", labels, strict=True))
    write_json(at.labels, {"answers": dict(zip("abcd", "abcd", strict=True)), "submission": written})
    table = pd.read_parquet(at.table("test")).set_index("id")
    with at.submission.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)

    def label(row_id, letter):
        return table.at[row_id, letter] if labels == "texts" else written[letter]

    write_answers(at.submission, [row_id for row_id, _ in rows], [label(*row) for row in rows], header)
    old = write_answers(tmp_path / "old.csv", [row_id for row_id, _ in rows], [label(i, "a") for i, _ in rows])
    done = run_command("picks", old, "--results", other, "--count", 9, "--write", tmp_path / "chosen")
    assert done.returncode == 0, done.stderr
    found = []
    for pick in (tmp_path / "chosen").glob("pick*.csv"):
        with pick.open(encoding="utf-8", newline="") as file:
            first, *lines = csv.reader(file)
        assert first == header and all(answer in [label(i, letter) for letter in "abcd"] for i, answer in lines)
        found.append(lines)
    assert [[row_id, label(row_id, letter)] for row_id, letter in rows] in found
    letters = write_answers(tmp_path / "letters.csv", [row_id for row_id, _ in rows], ["b"] * len(rows))
    refused = run_command("picks", letters, "--results", other)
    assert refused.returncode == 1 and "letters.csv: answers 'b' are not those of the submission" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--public", "current"], "--public current: is not FILE=SCORE"),
        (["--public", "current=940"], "--public current=940: is not FILE=SCORE"),
        (["--count", "0"], "--count 0: is not a number of selections"),
        (["--share", "1"], "--share 1: it leaves no public or no private row of 80. Give a share from 0.013 to 0.987."),
        (["--share", "nan"], "Give a share from 0.013 to 0.987."),
        (["frist"], "frist: there is no such kept run and no such folder; did you mean 'first'?"),
        (["lost.csv"], "lost.csv: cannot be read"),
    ],
)
def test_command_fails_in_one_line(results, arguments, message):
    done = run_command("picks", "--results", results, *arguments)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_a_test_table_of_one_row_ends_no_run(results, tmp_path):
    """evaluate_oof writes the page, and the submission is validated only after it."""
    one = shutil.copytree(results, tmp_path / "one")
    at = ResultsFolder(one)
    for path in (at.table("test"), at.probabilities("test"), *(at.member(m).answers("test") for m in at.members())):
        pd.read_parquet(path).iloc[:1].to_parquet(path, index=False)
    assert pick_page(**paths(one), out=tmp_path / PAGE) is None
    assert "no advice for a test table of 1 row" in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_a_kept_run_with_another_number_of_choices_is_refused_in_one_message(results, tmp_path):
    """It had stopped with a missing column, or compared the first four choices of five."""
    five = shutil.copytree(results / "runs" / "first", tmp_path / "five")
    for split in ("oof", "test"):
        path = five / "ensemble" / f"{split}.parquet"
        pd.read_parquet(path).assign(p_e=0.0).to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"ensemble/test\.parquet: run five has 5 choices per row, the tables have 4"):
        read(results, {"five": five})
