"""The members in metrics.json: each number against a plain count, and the same names as ever where there is one."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from results_world import ensemble, evaluate, make_results, member, several_members
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.members import UNTUNED
from vqaflow.config.recipe_names import named_recipe
from vqaflow.ensemble.calibration import apply_temperature
from vqaflow.evaluation.evidence import namer, read_evidence
from vqaflow.evaluation.members import POOL, member_lines, overlap, pools_without
from vqaflow.reporting.statistics import bootstrap_interval, paired_summary, wilson
from vqaflow.runtime.errors import UserError

P = ["p_a", "p_b", "p_c", "p_d"]
NAMES = ["friend", "main", "other", "untuned"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """240 OOF rows answered by a member of each kind."""
    folder = tmp_path_factory.mktemp("world") / "results"
    folder.mkdir()
    make_results(folder, train_rows=240, members=several_members(folder))
    ensemble(folder, recipe="default")
    return folder, evaluate(folder)


@pytest.fixture(scope="module")
def rows(evaluated):
    """The training table with fold and group, by id."""
    folder, _ = evaluated
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    return table.join(pd.read_parquet(folder / "folds.parquet").set_index("id"))


def answers(folder, name, split="oof", where="members"):
    """A member's letters (0 to 3) and probabilities, by the table's order."""
    path = folder / where / name / f"{split}.parquet" if where == "members" else folder / where / f"{split}.parquet"
    p = pd.read_parquet(path).set_index("id")[P]
    return p.to_numpy().argmax(1), p.to_numpy()


def right_of(folder, name, rows):
    return answers(folder, name)[0] == rows["answer"].map("abcd".index).to_numpy()


def test_each_member_has_its_accuracy_with_both_intervals(evaluated, rows):
    folder, metrics = evaluated
    assert metrics["members"]["names"] == NAMES and list(metrics["members"]["each"]) == NAMES
    for name, facts in metrics["members"]["each"].items():
        right_N = right_of(folder, name, rows)
        assert (facts["right"], facts["n"], facts["accuracy"]) == (right_N.sum(), 240, right_N.mean())
        assert facts["wilson"] == pytest.approx(wilson(int(right_N.sum()), 240))
        assert facts["bootstrap"] == pytest.approx(bootstrap_interval(right_N, rows["group"].to_numpy()))


def test_each_member_says_what_it_is(evaluated):
    each = evaluated[1]["members"]["each"]
    assert {name: facts["kind"] for name, facts in each.items()} == {
        "friend": "file",
        "main": "tuned",
        "other": "tuned",
        "untuned": "untuned",
    }
    assert each["main"]["seeds"] == [1, 2] and each["main"]["refit"] and "all rows" in each["main"]["note"]
    costs = json.loads((evaluated[0] / "evaluation" / "costs.json").read_text(encoding="utf-8"))
    assert list(costs) == NAMES and costs["friend"]["minutes"] is None, "files of others cost nothing here"
    assert "minutes" not in json.dumps(evaluated[1]["members"]), "metrics.json has the same bytes in each run"
    assert sum(facts["weight"] for facts in each.values()) == pytest.approx(1)


def test_a_member_s_likelihood_is_told_raw_and_after_its_own_temperature(evaluated, rows):
    """A member that is only too soft is as good a partner as a sharp one; a temperature of other rows shows it."""
    folder, metrics = evaluated
    truth = rows["answer"].map("abcd".index).to_numpy()
    for name, facts in metrics["members"]["each"].items():
        p = answers(folder, name)[1]
        assert facts["nll"] == pytest.approx(-np.log(p[np.arange(240), truth]).mean())
        scaled = apply_temperature(p, {"temperature": facts["temperature"]})
        on_all_rows = -np.log(scaled[np.arange(240), truth]).mean()
        assert on_all_rows < min(facts["nll"], facts["nll_after_temperature"])
        assert facts["nll_after_temperature"] == pytest.approx(on_all_rows, abs=0.02)


def test_paired_differences_are_those_of_the_rows(evaluated, rows):
    """The untuned base beside each tuned score, and the ensemble beside each member."""
    folder, metrics = evaluated
    groups, truth = rows["group"].to_numpy(), rows["answer"].map("abcd".index).to_numpy()
    right = {name: right_of(folder, name, rows) for name in NAMES}
    pool = answers(folder, "", where="ensemble")[0] == truth
    for name, facts in metrics["members"]["each"].items():
        assert_same_pair(facts["ensemble_against_it"], paired_summary(right[name], pool, groups))
        is_tuned = name in ("main", "other")
        assert list(facts["against_untuned"]) == (["untuned"] if is_tuned else [])
        if is_tuned:
            expected = paired_summary(right["untuned"], right[name], groups)
            assert_same_pair(facts["against_untuned"]["untuned"], expected)


def test_what_the_pool_loses_without_a_member_is_counted_on_the_same_rows(evaluated, rows):
    folder, metrics = evaluated
    truth = rows["answer"].map("abcd".index).to_numpy()
    p = {name: answers(folder, name)[1] for name in NAMES}
    pool = sum(p.values()).argmax(1) == truth
    for name, facts in metrics["members"]["each"].items():
        without = sum(p[other] for other in NAMES if other != name).argmax(1) == truth
        expected = paired_summary(without, pool, rows["group"].to_numpy())
        assert_same_pair(facts["pool_loses_without_it"], expected)
    assert metrics["members"]["each"]["main"]["pool_loses_without_it"]["gain"] > 0.02


@pytest.mark.parametrize(
    ("chosen", "losing"),
    [
        ("mean without untuned", ["friend", "main", "other"]),
        ("mean without main/hflip", NAMES),
        ("only main", []),
        ("weighted", NAMES),
    ],
)
def test_a_member_that_the_pool_leaves_out_is_no_loss(evaluated, chosen, losing):
    """And without the only member that it keeps, there is no pool to compare with."""
    oof = evidence(evaluated[0]).oof
    pools = pools_without(oof, named_recipe(chosen, "mean"))
    for name in NAMES:
        if chosen == "only main" and name == "main":
            assert ("without", name) not in pools
        else:
            same = (pools["without", name] == pools[POOL]).all()
            assert same == (name not in losing), name


def evidence(folder):
    at = ResultsFolder(folder)
    return read_evidence(
        oof=at.probabilities("oof"),
        recipe=at.recipe,
        members=[at.member(name).folder for name in at.members()],
        scores=[],
        adapters=[],
        train_table=at.table("train"),
        test_table=at.table("test"),
        folds=at.folds,
    )


def assert_same_pair(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value), key


def test_errors_and_answers_are_compared_pair_by_pair(evaluated, rows):
    folder, metrics = evaluated
    members = metrics["members"]
    for i, first in enumerate(NAMES):
        for j, second in enumerate(NAMES):
            a, b = ~right_of(folder, first, rows), ~right_of(folder, second, rows)
            assert members["error_overlap"][i][j] == pytest.approx((a & b).sum() / (a | b).sum())
            for split in ("oof", "test"):
                differ = answers(folder, first, split)[0] != answers(folder, second, split)[0]
                assert members["disagreement"][split][i][j] == pytest.approx(differ.mean())


def test_overlap_of_errors():
    """Twins that fail together gain nothing from each other; members without an error have no overlap."""
    wrong = np.array([True, True, False, False])
    assert overlap(wrong, wrong) == 1 and overlap(wrong, ~wrong) == 0
    assert overlap(wrong, np.array([True, False, True, False])) == pytest.approx(1 / 3)
    assert overlap(~wrong & wrong, ~wrong & wrong) is None


def test_test_rows_without_an_image_count_as_the_others_do(tmp_path):
    """They have answers of their own; left out, the members' agreement would be that of another table."""
    folder = tmp_path / "results"
    folder.mkdir()
    make_results(folder, members=several_members(folder), unusable=30)
    ensemble(folder)
    p = [answers(folder, name, "test")[0] for name in ("friend", "untuned")]
    found = evaluate(folder)["members"]["disagreement"]["test"][0][3]
    assert found == pytest.approx((p[0] != p[1]).mean()) and found > 0


def test_names_begin_with_the_member_only_where_there_are_several(evaluated, tmp_path):
    assert namer(["main"])("main", "original") == "original"
    assert namer(["main", "b"])("main", "original") == "main/original"
    metrics = evaluated[1]
    assert set(metrics["by_view"]) == {
        "friend/file", "main/original", "main/hflip", "other/original", "untuned/original"
    }  # fmt: skip
    assert {"main/fold0-seed1/original", "other/fold2/original", "untuned/base/original"} <= set(metrics["single"])
    assert set(metrics["by_order"]) == {
        "main/seed1/original",
        "main/seed1/hflip",
        "main/seed2/original",
        "main/seed2/hflip",
        "other/original",
        "untuned/original",
    }
    assert {"main/fold0-seed1", "main/foldall-seed2", "other/fold2"} <= set(metrics["learning"])
    assert set(metrics["error_correlation"]["folds"]) == {"main", "other"}


def test_seeds_are_single_passes_of_their_own(evaluated, rows):
    """Counted as one, a row would count twice and its interval would be too narrow."""
    folder, metrics = evaluated
    truth = rows["answer"]
    for seed in (1, 2):
        paths = folder.glob(f"scores/main/oof/fold*-seed{seed}/original.parquet")
        scores = pd.concat([pd.read_parquet(path) for path in paths])
        logits = [f"logit_{letter}" for letter in "abcd"]
        scores["hit"] = np.array(list("abcd"))[scores[logits].to_numpy().argmax(1)] == truth[scores["id"]].to_numpy()
        for order, part in scores.groupby("order"):
            found = metrics["by_order"][f"main/seed{seed}/original"][order]
            assert (found["n"], found["right"]) == (240, part["hit"].sum())


def test_an_untuned_base_alone_is_measured(tmp_path):
    """The zero-shot first submission has no adapter, no fold and no training log."""
    folder = tmp_path / "results"
    make_results(folder, members={"main": member("main", UNTUNED, {"original": 1.5})})
    ensemble(folder)
    metrics = evaluate(folder)
    assert metrics["overall"]["n"] == 120 and metrics["members"]["each"]["main"]["kind"] == UNTUNED
    assert list(metrics["single"]) == ["base/original"] and list(metrics["by_order"]) == ["original"]
    assert metrics["learning"] == {} and metrics["error_correlation"]["folds"] is None
    assert metrics["checkpoint_choice"]["adapters"] == 0


def test_files_alone_are_measured(tmp_path):
    """Probabilities of others can be pooled and submitted without any model."""
    folder = tmp_path / "results"
    folder.mkdir()
    make_results(folder, members={"friend": several_members(folder)["friend"]})
    ensemble(folder)
    metrics = evaluate(folder)
    assert metrics["by_order"] == {} and metrics["single"] == {} and list(metrics["by_view"]) == ["file"]


def test_the_log_has_a_line_for_each_member(evaluated, caplog):
    folder, metrics = evaluated
    with caplog.at_level(logging.INFO, "vqaflow"):
        evaluate(folder)
    lines = [line for line in caplog.messages if line.startswith("untuned (untuned): ")]
    assert len(lines) == 1 and f"{100 * metrics['members']['each']['untuned']['accuracy']:.2f} %" in lines[0]


def test_the_figure_is_drawn_from_the_numbers(evaluated):
    with Image.open(evaluated[0] / "evaluation" / "members.png") as image:
        image.load()
        assert image.width > 900 and image.height > 300


def test_a_member_of_other_rows_is_refused(tmp_path):
    folder = make_results(tmp_path / "results")
    ensemble(folder)
    path = folder / "members" / "main" / "oof.parquet"
    pd.read_parquet(path)[::-1].to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"main/oof\.parquet: its rows are not those of the table.*pool_member"):
        evaluate(folder)
    assert json.loads((folder / "members" / "main" / "member.json").read_text())["kind"] == "tuned"


def test_a_pool_that_loses_nothing_has_no_minus_sign():
    """`-0.00 points` looks like a loss."""
    facts = {"kind": "tuned", "accuracy": 0.5, "wilson": [0.4, 0.6], "bootstrap": [0.4, 0.6], "nll": 1.0, "weight": 0.0}
    each = {name: facts | {"pool_loses_without_it": {"gain": gain}} for name, gain in {"a": 0.0, "b": 1e-9}.items()}
    assert all(line.endswith("without it: +0.00 points") for line in member_lines({"names": ["a", "b"], "each": each}))
