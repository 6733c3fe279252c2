"""Runs beside each other: settings, paired differences, changed test answers, as text, CSV and page."""

import csv
import io
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from browser import browser
from results_world import foreign_member, member
from runs_world import make_run, write
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.compare import compare
from vqaflow.evaluation.run_settings import differing, settings_of
from vqaflow.evaluation.runs.comparison import compare_runs
from vqaflow.evaluation.runs.kept import keep
from vqaflow.evaluation.runs.page import runs_page, write_page
from vqaflow.evaluation.runs.summary import minutes_of, summary_of
from vqaflow.evaluation.runs.wording import described
from vqaflow.runtime.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A weak run, a strong one with another rate, and one with a second member, on the same rows."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "weak", strength={"original": 0.7})
    make_run(folder / "강함", strength={"original": 2.5}, learning_rate=0.5)
    both = {"main": member("main", strength={"original": 0.7}), "other": member("other", strength={"original": 0.7})}
    make_run(folder / "pair", members=both)
    return folder


@pytest.fixture(scope="module")
def found(runs):
    return compare_runs({name: runs / name for name in ("weak", "강함", "pair")})


def old_layout(run, folder):
    """The same run as version 0.1 wrote it: no members, and adapters and scores by fold alone."""
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "members")
    for kind in ("adapters", "scores"):
        (folder / kind / "main").rename(folder / "moved")
        shutil.rmtree(folder / kind)
        (folder / "moved").rename(folder / kind)
    return folder


def test_differences_are_those_of_compare(runs, found):
    """`vqaflow compare` and this table must not disagree; only the correction is added."""
    for name, against in zip(("강함", "pair"), found.against[1:], strict=True):
        overall = compare(runs / "weak", runs / name).overall
        assert against.gain == overall["gain"] and against.interval == overall["bootstrap"]
        assert against.p_value == min(1.0, 2 * overall["p_value"])
        assert (against.only_first, against.only_second) == (overall["only_first_right"], overall["only_second_right"])
    assert found.against[0] is None and found.against[1].real


def test_changed_test_answers_are_counted(runs, found):
    columns = ["p_a", "p_b", "p_c", "p_d"]
    answers = [
        pd.read_parquet(runs / name / "ensemble/test.parquet").set_index("id")[columns].idxmax(axis=1)
        for name in ("weak", "강함")
    ]
    assert found.against[1].changed == int((answers[0] != answers[1]).sum()) > 0
    assert found.against[1].test_rows == len(answers[0])


def test_settings_that_differ_are_listed_and_no_others(found):
    assert found.settings["members.main.train.learning_rate"] == [0.002, 0.5, 0.002]
    assert found.settings["members.other.kind"] == [None, None, "tuned"]
    assert not [key for key in found.settings if key.startswith("members.other.") and key != "members.other.kind"]
    assert "members.main.train.lora.r" not in found.settings


def test_with_one_member_settings_have_the_names_of_the_configuration(runs):
    settings = differing([settings_of(runs / name) for name in ("weak", "강함")])
    assert settings["train.learning_rate"] == [0.002, 0.5]
    assert not any(key.startswith("members.") for key in settings)


def test_equal_runs_are_within_noise(runs):
    table = compare_runs({"weak": runs / "weak", "again": runs / "weak"})
    lines = list(described(table))
    assert table.settings == {} and not table.against[1].real and table.against[1].changed == 0
    assert "No recorded setting differs." in lines and any("within noise" in line for line in lines)


def test_more_comparisons_need_a_smaller_p_value(runs):
    """Of twenty equal runs, one looks better by chance."""
    once = compare_runs({"weak": runs / "weak", "pair": runs / "pair"}).against[1]
    many = compare_runs({"weak": runs / "weak"} | {f"pair{i}": runs / "pair" for i in range(4)}).against[1]
    assert many.p_value == pytest.approx(min(1.0, 4 * once.p_value)) and many.interval == once.interval


def test_a_folder_of_version_0_1_is_listed_and_compared(runs, tmp_path):
    """Nobody runs a competition again to see whether the new version is better."""
    old = old_layout(runs / "강함", tmp_path / "old")
    table = compare_runs({"old": old, "new": runs / "강함"})
    assert table.runs[0].summary["members"] == ["main"] and table.against[1].gain == 0
    assert settings_of(old)["members.main.train.learning_rate"] == 0.5
    assert any(line.startswith("old ") for line in described(table))


def test_runs_on_other_rows_are_shown_but_not_compared(runs, tmp_path):
    other = shutil.copytree(runs / "weak", tmp_path / "other")
    for name in ("tables/train.parquet", "folds.parquet", "ensemble/oof.parquet"):
        frame = pd.read_parquet(other / name)
        frame.assign(id="x" + frame["id"]).to_parquet(other / name, index=False)
    table = compare_runs({"weak": runs / "weak", "other": other})
    assert table.against[1].gain is None and "no training row in common" in table.against[1].problem
    lines = list(described(table))
    assert any("not comparable" in line for line in lines) and any(line.startswith("note: other:") for line in lines)
    write_page(table, tmp_path / "page.html")
    assert "not comparable" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_without_results_is_named(runs, tmp_path):
    with pytest.raises(UserError, match="train.parquet: is missing. Run the rule validate_tables"):
        compare_runs({"weak": runs / "weak", "empty": tmp_path})


def test_minutes_come_from_members_then_benchmarks_then_adapters(runs, tmp_path):
    run = shutil.copytree(runs / "weak", tmp_path / "run")
    assert minutes_of(run) == 3.0
    note = run / "members/main/member.json"
    about = json.loads(note.read_text("utf-8"))
    write(note, json.dumps(about | {"minutes": 12.34}))
    assert minutes_of(run) == 12.3
    write(note, json.dumps(about | {"minutes": None}))
    shutil.rmtree(run / "benchmarks")
    assert minutes_of(run) is None
    for file in run.glob("adapters/main/*/run.json"):
        write(file, json.dumps(json.loads(file.read_text("utf-8")) | {"seconds": 60}))
    assert minutes_of(run) == 3.0


def test_the_summary_is_counted_from_the_answers(runs):
    summary = summary_of(runs / "weak")
    metrics = json.loads((runs / "weak/evaluation/metrics.json").read_text("utf-8"))["overall"]
    assert (summary["right"], summary["n"]) == (metrics["right"], metrics["n"])
    low, high = summary["interval"]
    assert low <= metrics["wilson"][0] and high >= metrics["wilson"][1] and 0 < summary["nll"] < 2


# --- the page ---


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize("width", [360, 1300])
def test_the_page_fits_and_asks_nobody_for_anything(page, found, tmp_path, width):
    write_page(found, tmp_path / "runs.html")
    page.resize(width, 800)
    page.open(tmp_path / "runs.html")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.requests == [(tmp_path / "runs.html").resolve().as_uri()] and page.errors == []
    assert "강함" in page.run("document.body.innerText")
    marked = page.run("[...document.querySelectorAll('td.changed')].map(cell => cell.textContent)")
    assert "0.5" in marked and "0.002" not in marked


def test_the_rules_page_compares_the_current_run_with_kept_ones(runs, tmp_path):
    results = ResultsFolder(shutil.copytree(runs / "weak", tmp_path / "results"))
    keep(results, "first")
    runs_page({"current": results.folder, "first": results.folder / "runs" / "first"}, tmp_path / "runs.html")
    text = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert "Against current" in text and "No recorded setting differs." in text


# --- the command ---


def run_command(*arguments):
    command = [sys.executable, "-m", "vqaflow", "runs", *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)


def test_command_keeps_lists_compares_and_drops(runs, tmp_path):
    results = shutil.copytree(runs / "weak", tmp_path / "results")
    at = ("--results", results)
    assert "No run is kept" in run_command(*at).stdout
    kept = run_command("keep", "첫번째", *at)
    assert kept.returncode == 0 and kept.stdout.startswith("첫번째: OOF ")
    listed = run_command(*at).stdout
    assert "첫번째" in listed and "NLL" in listed
    table = tmp_path / "runs.csv"
    done = run_command("current", "첫번째", runs / "강함", *at, "--csv", table, "--html", tmp_path / "runs.html")
    assert done.returncode == 0 and "train.learning_rate" in done.stdout, done.stderr
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert [row["name"] for row in rows] == ["current", "첫번째", str(runs / "강함")]
    assert [row["setting train.learning_rate"] for row in rows] == ["0.002", "0.002", "0.5"]
    assert rows[0]["gain"] == "" and int(rows[2]["changed"]) > 0
    assert (tmp_path / "runs.html").is_file()
    dropped = run_command("drop", "첫번째", *at)
    assert dropped.returncode == 0 and "MB freed" in dropped.stdout
    assert "No run is kept" in run_command(*at).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keep"], "runs keep: takes one name, not 0"),
        (["keep", "a", "b"], "runs keep: takes one name, not 2"),
        (["drop", "a"], "it has no run 'a'; there are none"),
        (["current", "lost"], "lost: there is no such kept run and no such folder; give `current`, or"),
    ],
)
def test_command_fails_in_one_line(runs, arguments, message):
    done = run_command(*arguments, "--results", runs / "weak")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_files_of_others_cost_no_minutes(tmp_path):
    """They have none: the minutes of the members that were trained here would otherwise be taken from elsewhere."""
    folder = tmp_path / "run"
    members = {"main": member("main"), "friend": foreign_member("friend", tmp_path)}
    at = ResultsFolder(make_run(folder, members=members))
    note = at.member("main").note
    write(note, json.dumps(json.loads(note.read_text("utf-8")) | {"minutes": 7.5}))
    assert minutes_of(folder) == 7.5


def test_a_member_that_was_taken_out_is_not_of_the_run_any_more(tmp_path):
    """Its folder stays, so that it comes back at no cost; advice and comparisons must not count it."""
    at = ResultsFolder(make_run(tmp_path / "run", members={"main": member("main"), "old": member("old")}))
    assert at.members() == ["main", "old"]
    recipe = json.loads(at.recipe.read_text("utf-8"))
    write(at.recipe, json.dumps(recipe | {"members": [{"name": "main"}]}))
    assert at.members() == ["main"] and summary_of(at.folder)["members"] == ["main"]
    assert not any("members.old" in key for key in settings_of(at.folder))
