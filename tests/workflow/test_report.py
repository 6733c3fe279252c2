"""Snakemake's report of a finished run: built and read without a network, with every stage's figures in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from browser import browser
from places import ROOT
from results_world import make_whole_run
from search_world import FIGURES, choose, search
from vqaflow.evaluation.figures import FIGURES as FIGURES_OF_EVALUATION

# Looking up an address leads nowhere.
OFFLINE = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https", "all")}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a made-up finished run with a search, as the repository's own Snakefile makes it."""
    folder = tmp_path_factory.mktemp("report")
    results = make_whole_run(folder / "results")
    (results / "demo").mkdir()
    for name in ("train.csv", "test.csv", "sample_submission.csv", "test_answers.csv"):
        (results / "demo" / name).touch()
    for split in ("train", "test"):
        (results / "demo" / split).mkdir()
    make_search(folder / "search", results / "hpo" / "main")
    shutil.copy(ROOT / "config.yaml", folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    done = subprocess.run(
        [*command, "--report", "results/report.html", "--configfile", ROOT / "docs" / "examples" / "demo_search.yaml"],
        capture_output=True,
        text=True,
        env=os.environ | OFFLINE,
    )
    assert done.returncode == 0, done.stderr
    return results / "report.html"


def make_search(work: Path, out: Path) -> None:
    """What a search of nine quick trials by the real workers and the real stage leaves in `out`."""
    search(work, trials=9)
    choose(work, "chosen", trials=9)
    shutil.copytree(work / "chosen", out)
    (out / "workers").mkdir()
    for number in range(2):
        shutil.copy(work / "worker0.json", out / "workers" / f"worker{number}.json")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        opened.resize(1300, 900)
        yield opened


def click(page, text):
    """Click the innermost element that says just `text`."""
    leaves = f"[...document.querySelectorAll('*')].filter(e => !e.children.length && e.textContent.trim() === '{text}')"
    page.wait(f"{leaves}.length > 0")
    page.run(f"{leaves}[0].click()")


def test_report_has_a_category_a_stage(page, report):
    page.open(report)
    page.wait("document.body.innerText.includes('4 Answers')")
    shown = page.run("document.body.innerText").splitlines()
    stages = ["0 Summary", "1 Data", "2 Training", "3 Evaluation", "4 Answers", "5 Final picks"]
    assert [line for line in shown if line[:1].isdigit() and line[1:2] == " "] == stages
    assert "vqaflow trains one adapter" in page.run("document.body.innerText")
    assert {url.split(":")[0] for url in page.requests} == {"file", "data"} and page.errors == []


def test_the_front_page_has_the_headline_and_what_it_is_compared_with(page, report):
    """An accuracy alone says little: always the same letter may reach it too."""
    metrics = json.loads((report.parent / "evaluation" / "metrics.json").read_text())
    page.open(report)
    page.wait("document.querySelectorAll('table tbody tr').length > 0")
    shown = page.run("document.body.innerText")
    assert f"{100 * metrics['overall']['accuracy']:.1f} % accuracy out of fold" in shown
    letter = metrics["baselines"]["each"][0]
    assert f"most frequent letter ({letter['name']})" in shown and f"{100 * letter['accuracy']:.1f} %" in shown


def test_every_figure_has_its_label_and_caption(page, report):
    page.open(report)
    found = page.run("Object.entries(results).map(([path, r]) => [path, r.labels, r.caption])")
    captions = {path: (labels, caption) for path, labels, caption in found}
    for figure in FIGURES_OF_EVALUATION:
        labels, caption = captions.pop(f"results/evaluation/{figure}.png")
        assert labels == {"figure": figure} and len(caption) > 200 and "Measured out of fold" in caption
    labels, caption = captions.pop("results/evaluation/summary.html")
    assert labels == {"page": "accuracy, baselines and measures"} and "AURC" in caption
    labels, caption = captions.pop("results/evaluation/picks.html")
    assert labels == {"page": "files to select"} and "vqaflow picks" in caption
    labels, caption = captions.pop("results/evaluation/mistakes_excerpt.html")
    assert labels == {"page": "wrong OOF answers"} and "results/evaluation/mistakes.html" in caption
    labels, caption = captions.pop("results/answers/test_answers_excerpt.html")
    assert labels == {"page": "test answers, least certain first"} and "results/answers/test_answers.html" in caption
    assert [path for path in captions if "adapters" in path] == [
        f"results/adapters/main/fold{n}/curve.png" for n in range(3)
    ]
    for name in ("best.html", *[f"{figure}.png" for figure in FIGURES]):
        labels, caption = captions.pop(f"results/hpo/main/figures/{name}")
        figure = name.partition(".")[0]
        assert labels == {"member": "main", "figure": figure}
        assert f"Hyper-parameter search over hpo.space. {figure}" in caption
    labels, caption = captions.pop("results/eda/types.png")
    assert labels == {"figure": "types"} and "Share of each question type" in caption


def test_a_figure_opens(page, report):
    page.open(report)
    click(page, "3 Evaluation")
    page.wait("document.querySelectorAll('table:not(.prose *) tbody tr').length === 8")
    page.run("document.querySelector('table:not(.prose *) tbody a').click()")
    page.wait("[...document.images].some(i => i.naturalWidth > 500)")


def test_the_search_has_a_section_of_its_own(page, report):
    """Its four figures and the best parameters, which open."""
    page.open(report)
    click(page, "2 Training")
    click(page, "Hyper-parameter search")
    page.wait("document.querySelectorAll('table:not(.prose *) tbody tr').length === 5")
    open_row = "[...document.querySelectorAll('table:not(.prose *) tbody tr')].find(r => r.innerText.includes('{}'))"
    for figure in FIGURES:
        page.run(open_row.format(figure) + ".querySelector('a').click()")
        page.wait("[...document.images].some(i => i.naturalWidth > 500)")
    page.run(open_row.format("best") + ".querySelector('a').click()")
    page.wait("document.querySelectorAll('table tr').length > 10", in_frame=True)
    assert "learning_rate" in page.run_in_frame("document.body.innerText")


@pytest.mark.parametrize("number", [0, 1])
def test_the_galleries_open_within_the_report(page, report, number):
    """A browser shows nothing at all of a page of more than 2 MiB that is embedded this way."""
    page.open(report)
    click(page, "4 Answers")
    page.wait("document.querySelectorAll('table:not(.prose *) tbody tr').length === 2")
    page.run(f"document.querySelectorAll('table:not(.prose *) tbody tr')[{number}].querySelector('a').click()")
    page.wait("document.querySelectorAll('article').length > 5", in_frame=True)
    assert "무엇이 보이나요" in page.run_in_frame("document.body.innerText")
    page.run_in_frame("document.querySelector('button.enlarge').click()")
    assert page.run_in_frame("document.querySelector('dialog').open")
    assert {url.split(":")[0] for url in page.requests} == {"file", "data"} and page.errors == []
