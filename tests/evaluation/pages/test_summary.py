"""The summary page: the numbers of metrics.json, in words that a reader needs no other page for."""

import json
import re

import pytest

from browser import browser
from results_world import ensemble, evaluate, make_results, several_members
from vqaflow.evaluation.pages.summary import FRONT, PAGE, write_summary
from vqaflow.reporting.statistics import widest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Members of each kind, whose trainings kept the best epoch."""
    base = tmp_path_factory.mktemp("summary")
    folder = make_results(base / "results", train_rows=240, members=several_members(base), lacking=True)
    for path in folder.glob("adapters/main/*/run.json"):
        run = json.loads(path.read_text())
        path.write_text(json.dumps(run | {"train": run["train"] | {"keep": "last"}}))
    ensemble(folder)
    return folder / "evaluation" / PAGE, evaluate(folder)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def test_the_page_tells_the_numbers(page, world):
    path, metrics = world
    page.resize(1300, 900)
    page.open(path)
    shown = page.run("document.body.innerText")
    overall = metrics["overall"]
    low, high = widest(overall)
    interval = f"{100 * low:.1f} to {100 * high:.1f}"
    assert f"{100 * overall['accuracy']:.1f} % accuracy out of fold, 95 % interval {interval}, n = 240" in shown
    for title in ("Measures", "By question type", "By number of choices", "By fold", "Trainings"):
        assert f"\n{title}\n" in shown
    for key in ("nll", "brier", "aurc"):
        assert f"{metrics['measures'][key]['value']:.4f}" in shown
    assert "To see what the text alone gives, enable a blind view" in shown and "add a member with" not in shown
    assert "untuned base (untuned)" in shown and "most frequent letter (always" in shown
    assert page.requests == [path.resolve().as_uri()] and page.errors == []


def test_one_number_has_one_interval(world):
    """The headline's interval and another one of the same accuracy would leave a reader in doubt of both."""
    path, metrics = world
    text = path.read_text(encoding="utf-8")
    low, high = widest(metrics["overall"])
    of_accuracy = re.findall(r'<th scope="row">(?:accuracy|this run)</th><td>[^<]*</td><td>([^<]*)</td>', text)
    assert of_accuracy == [f"{100 * low:.1f} to {100 * high:.1f}"] * 2


def test_the_kept_epoch_stands_beside_each_training(page, world):
    path, metrics = world
    page.open(path)
    rows = page.run(
        "[...document.querySelectorAll('[aria-label=trainings] tbody tr')].map(r => r.innerText.split(/\\s+/))"
    )
    assert len(rows) == len(metrics["learning"])
    for name, _, kept, *_ in rows:
        told = metrics["learning"][name]["kept_epoch"]
        assert kept == ("–" if told is None else f"{told:.1f}")
    assert {kept for name, _, kept, *_ in rows if name.startswith("main/")} == {"2.0"}


def test_a_phone_needs_no_sideways_scrolling(page, world):
    page.resize(360, 700)
    page.open(world[0])
    assert page.run("document.documentElement.scrollWidth") == 360


def test_names_of_the_user_do_not_become_markup(world, tmp_path):
    """The front page of Snakemake's report has no policy that would stop a script."""
    _, metrics = world
    nasty = '<script>alert(1)</script><!-- front --> "'
    first = {**metrics["baselines"]["each"][0], "name": nasty}
    baselines = {**metrics["baselines"], "each": [first]}
    by_type = dict.fromkeys([nasty, "x"], metrics["overall"])
    write_summary({**metrics, "baselines": baselines, "by_type": by_type}, tmp_path / PAGE)
    text = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "<script" not in text and text.count("&lt;script") == 3 and text.count(FRONT) == 2
