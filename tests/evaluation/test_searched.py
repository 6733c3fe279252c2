"""Rows that chose training parameters never count unmarked: the accuracy without them stands beside the headline."""

import pytest
import yaml

from results_world import ensemble, evaluate, make_results
from vqaflow.evaluation.evidence import read_oof_rows
from vqaflow.evaluation.searched import search_metrics
from vqaflow.reporting.closing_line import closing_line, searched_text
from vqaflow.reporting.statistics import accuracy_summary
from vqaflow.runtime.errors import UserError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = make_results(tmp_path_factory.mktemp("searched") / "results", train_rows=120)
    ensemble(folder)
    return folder


def best_yaml(folder, member, folds):
    path = folder / "hpo" / member / "best.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"parameters": {}, "saw": {"folds": [{"fold": fold} for fold in folds]}}))
    return path


def rows_of(folder):
    return read_oof_rows(folder / "ensemble/oof.parquet", folder / "tables/train.parquet", folder / "folds.parquet")


def test_the_accuracy_without_the_searched_folds_is_told_everywhere(finished):
    """metrics.json, the log and the last line: the search has seen fold 0, so its rows are too easy a test."""
    best = best_yaml(finished, "main", [0])
    metrics = evaluate(finished, [best])
    rows = rows_of(finished)
    rest = rows[rows["fold"] != 0]
    found = metrics["search"]["without_these_folds"]
    expected = accuracy_summary(rest["right"].to_numpy(), rest["group"].to_numpy())
    assert found["right"] == expected["right"] and found["n"] == len(rest) < len(rows)
    assert tuple(found["bootstrap"]) == expected["bootstrap"]
    line = closing_line(finished, since=0)
    assert f"without fold 0, whose rows chose training parameters: {found['accuracy']:.3f} (95 %" in line
    assert searched_text(metrics) in line


def test_folds_of_all_members_count_and_all_folds_leave_nothing(finished):
    rows = rows_of(finished)
    both = [best_yaml(finished, "main", [0]), best_yaml(finished, "other", [1])]
    found = search_metrics(rows, both)["search"]
    assert found["folds"] == [0, 1] and found["by_member"] == {"main": [0], "other": [1]}
    assert found["without_these_folds"]["n"] == int((rows["fold"] == 2).sum())
    every = search_metrics(rows, [best_yaml(finished, "all", [0, 1, 2])])
    assert every["search"]["without_these_folds"] is None and "too high" in searched_text(every)


def test_without_a_search_nothing_is_said(finished):
    assert search_metrics(rows_of(finished), []) == {} and searched_text({}) == ""


def test_a_damaged_best_yaml_is_named(finished, tmp_path):
    (tmp_path / "best.yaml").write_text("parameters: {}\n")
    with pytest.raises(UserError, match=r"best\.yaml.*search_hyperparameters"):
        search_metrics(rows_of(finished), [tmp_path / "best.yaml"])
