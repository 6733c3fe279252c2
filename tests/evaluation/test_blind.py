"""Blind views: how much of the accuracy needs no image, beside the real one, and marked in the gallery."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from results_world import ensemble, evaluate, make_results, member
from vqaflow.artifacts.choices import OWN
from vqaflow.artifacts.columns import ALL_LETTERS, logit_columns
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.score_files import TRANSCRIPT
from vqaflow.config.members import Member
from vqaflow.evaluation.blind import SURE, one_view
from vqaflow.evaluation.mistakes import PAGE

LETTERS = ALL_LETTERS[:4]
LOGITS = logit_columns("abcd")


def with_blind_view(name: str = "main") -> Member:
    """A tuned member with a blind view that knows some answers."""
    one = member(name, strength={"original": 2.0, "blind": 0.8})
    return replace(one, views=one.views | {"blind": one.views["blind"] | {"blind": "text"}})


def make_run(folder: Path, one: Member) -> Path:
    """A results folder with one member, pooled; as in a run, a blind view has no scores of test rows."""
    folder.mkdir(exist_ok=True)
    make_results(folder, members={one.name: one}, train_rows=240)
    for path in ResultsFolder(folder).all_scores(one.name):
        if path.stem == "blind" and "/test/" in path.as_posix():
            path.unlink()
    original = ResultsFolder(folder).scores(one.name, "oof", "0", "original")
    pd.read_parquet(original).assign(**{TRANSCRIPT: "sign: <b>출구</b>"}).to_parquet(original)
    ensemble(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A results folder with a blind view, and its metrics."""
    folder = make_run(tmp_path_factory.mktemp("world") / "results", with_blind_view())
    return folder, evaluate(folder)


def test_chance_is_that_of_the_choices_that_rows_have() -> None:
    """Of rows with two choices, half are right by chance, not a quarter."""
    told = {"qtype": "general", "group": [1, 2], "answer_index": 0, "right": True, OWN: ["ab", "abcd"]}
    assert one_view(pd.DataFrame(told), np.array([[0.6, 0.4, 0, 0], [0.4, 0.2, 0.2, 0.2]]))["chance"] == 0.375


def blind_probabilities(folder: Path) -> pd.DataFrame:
    """The blind view's probabilities by id, by plain loops: the geometric mean over orders."""
    frames = [pd.read_parquet(ResultsFolder(folder).scores("main", "oof", fold, "blind")) for fold in "012"]
    scores = pd.concat(frames)
    logits = scores[LOGITS].to_numpy(float)
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    mean = pd.DataFrame(logp, index=scores["id"]).groupby(level=0).mean()
    p = np.exp(mean)
    return p.div(p.sum(axis=1), axis=0)


def test_accuracy_without_the_image_stands_beside_the_real_one(evaluated):
    """A data set whose answers can be guessed from the text alone rewards models that do not look."""
    folder, metrics = evaluated
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    p = blind_probabilities(folder).loc[table.index]
    right = p.to_numpy().argmax(1) == table["answer"].map(LETTERS.index).to_numpy()
    found = metrics["blind"]["blind"]
    assert found["overall"]["blind"]["accuracy"] == pytest.approx(right.mean())
    assert found["overall"]["ensemble"]["accuracy"] == metrics["overall"]["accuracy"]
    for kind, part in found["by_type"].items():
        mine = (table["qtype"] == kind).to_numpy()
        assert part["blind"]["accuracy"] == pytest.approx(right[mine].mean()) and part["blind"]["n"] == mine.sum()
        assert part["ensemble"] == metrics["by_type"][kind]
    sure = right & (p.to_numpy().max(1) >= SURE)
    assert found["needs_no_image"]["rows"] == sure.sum() > 0
    assert (folder / "evaluation" / "blind.png").stat().st_size > 5000


def test_a_blind_view_takes_no_part_in_any_answer(evaluated):
    """It is right more often than chance, so a pool would take it, and the answers would look even less."""
    folder, metrics = evaluated
    recipe = json.loads((folder / "ensemble" / "recipe.json").read_text(encoding="utf-8"))
    assert not any("blind" in entry["views"] for entry in recipe["members"])
    assert not any("blind" in candidate["name"] for candidate in recipe["candidates"])
    assert set(metrics["by_view"]) == {"original"} and not any("blind" in name for name in metrics["single"])
    assert not any("blind" in column for column in pd.read_parquet(folder / "members" / "main" / "oof_views.parquet"))


def test_the_gallery_marks_rows_that_need_no_image_and_shows_what_was_read(evaluated):
    """One looks at such rows before one believes an accuracy; a transcript shows whether the base could read."""
    folder, metrics = evaluated
    page = (folder / "evaluation" / PAGE).read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1])
    notes = {row[0]: row[12] for row in data["rows"]}
    marked = {
        row for row, lines in notes.items() if any("needs no image: blind is right with" in line for line in lines)
    }
    assert len(marked) == metrics["blind"]["blind"]["needs_no_image"]["rows"]
    read = {row for row, lines in notes.items() if "original read: sign: <b>출구</b>" in lines}
    folds = pd.read_parquet(folder / "folds.parquet")
    assert read == set(folds["id"][folds["fold"] == 0]) and "<b>출구</b>" not in page, "text never becomes markup"


def test_without_a_blind_view_nothing_is_added(tmp_path):
    """The files of runs that do not ask for it must stay as they are."""
    folder = make_results(tmp_path / "results", train_rows=60)
    ensemble(folder)
    assert "blind" not in evaluate(folder) and not (folder / "evaluation" / "blind.png").exists()
