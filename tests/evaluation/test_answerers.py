"""The evaluation against several people's answers, and by source: every number against a plain count."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from people import drawn_answers, with_answers
from results_world import ensemble, evaluate, make_results
from vqaflow.evaluation.figures import FIGURES
from vqaflow.reporting.closing_line import closing_line

P, S = [f"p_{x}" for x in "abcd"], [f"share_{x}" for x in "abcd"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A results folder of 160 rows: 40 with gold answers, 120 that five people answered, of another table."""
    folder = make_results(tmp_path_factory.mktemp("people") / "results", train_rows=160)
    path = folder / "tables" / "train.parquet"
    train = pd.read_parquet(path)
    given = list(train["answer"][:40]) + drawn_answers(train["answer"][40:], 5, 0.5, seed=2)
    source = np.where(np.arange(160) < 40, "train", "dev")
    with_answers(train, given, source).to_parquet(path, index=False)
    ensemble(folder)
    return folder


@pytest.fixture(scope="module")
def metrics(folder):
    return evaluate(folder)


@pytest.fixture(scope="module")
def rows(folder):
    """The rows that several people answered, joined here."""
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    oof = pd.read_parquet(folder / "ensemble" / "oof.parquet").set_index("id")[P].loc[table.index]
    table["predicted"] = np.array(list("abcd"))[oof.to_numpy().argmax(1)]
    return table.join(oof)[table["people"] > 1]


def test_the_ensemble_is_measured_against_all_answers(metrics, rows):
    """Accuracy to a majority of three to two says little of how well a row is answered."""
    found = metrics["answerers"]
    votes = [(row[S].to_numpy(float) * 5).round().astype(int) for _, row in rows.iterrows()]
    chosen = ["abcd".index(letter) for letter in rows["predicted"]]
    assert found["n"] == 120 and found["people"] == {"5": 120}
    assert found["expected_accuracy"]["value"] == pytest.approx(
        np.mean([v[c] / 5 for v, c in zip(votes, chosen, strict=True)])
    )
    assert found["majority"]["right"] == int((rows["predicted"] == rows["answer"]).sum())
    assert found["majority"]["ties"] == sum(np.count_nonzero(v == v.max()) > 1 for v in votes) > 0
    assert found["majority"]["without_ties"]["n"] == 120 - found["majority"]["ties"]
    assert found["best_possible"] == pytest.approx(np.mean([v.max() / 5 for v in votes]))
    assert found["one_person"]["value"] == pytest.approx(np.mean([sum(v * (v - 1)) / 20 for v in votes]))
    credit = [
        sum(v[c] / 5 * (w[p] == w.max()) / np.count_nonzero(w == w.max()) for c in range(4) for w in [v - np.eye(4)[c]])
        for v, p in zip(votes, chosen, strict=True)
    ]
    assert found["against_majority_of_others"]["ensemble"]["value"] == pytest.approx(np.mean(credit))
    low, high = found["expected_accuracy"]["bootstrap"]
    assert low < found["expected_accuracy"]["value"] < high <= 1
    losses = -(rows[S].to_numpy() * np.log(rows[P].to_numpy())).sum(1)
    assert found["cross_entropy"]["value"] == pytest.approx(losses.mean())
    assert found["entropy_of_shares"] < found["cross_entropy"]["value"]


def test_parts_by_type_and_by_agreement_cover_all_rows(metrics, rows):
    found = metrics["answerers"]
    assert {qtype: part["n"] for qtype, part in found["by_type"].items()} == rows["qtype"].value_counts().to_dict()
    level = (rows[S].max(axis=1) * 5).round().astype(int)
    assert set(found["by_level"]) == {f"{n}/5" for n in level}
    for name, part in found["by_level"].items():
        mine = rows[level == int(name[0])]
        assert part["majority"]["n"] == len(mine)
        assert part["majority"]["right"] == int((mine["predicted"] == mine["answer"]).sum())


def test_accuracy_stands_by_source(metrics, rows):
    """Users add tables of other origin; whether they are as hard is the first question."""
    found = metrics["by_source"]
    assert {name: part["n"] for name, part in found.items()} == {"dev": 120, "train": 40}
    assert found["dev"]["right"] == int((rows["predicted"] == rows["answer"]).sum())
    assert sum(part["right"] for part in found.values()) == metrics["overall"]["right"]


def test_tables_of_one_answer_have_no_such_sections(tmp_path):
    folder = make_results(tmp_path / "results", train_rows=48)
    ensemble(folder)
    metrics = evaluate(folder)
    assert not {"answerers", "by_source"} & metrics.keys()
    assert not (folder / "evaluation" / "answerers.png").exists()
    assert metrics["measures"]["accuracy"]["value"] == metrics["overall"]["accuracy"]
    assert metrics["measures"]["accuracy"]["bootstrap"] == pytest.approx(metrics["overall"]["bootstrap"])


def test_the_figure_the_gallery_and_the_last_line_tell_of_the_people(folder, metrics):
    for figure in (*FIGURES, "answerers"):
        with Image.open(folder / "evaluation" / f"{figure}.png") as image:
            image.load()
    page = (folder / "evaluation" / "mistakes.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    counts = (table[S].mul(table["people"], axis=0)).round().astype(int)
    assert len(data["rows"]) == 160
    for row_id, *_, given, _picture, _votes, _label, _notes in data["rows"]:
        assert given == (counts.loc[row_id].tolist() if table["people"][row_id] > 1 else [])
    line = closing_line(folder, since=0)
    found = metrics["answerers"]
    assert f"{found['expected_accuracy']['value']:.3f} of 120 rows' single answers agree" in line
    assert f"one person: {found['one_person']['value']:.3f}" in line
