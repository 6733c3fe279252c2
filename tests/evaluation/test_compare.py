"""Comparing two runs: no noise taken for progress, no unlike rows compared, every flipped answer listed."""

import csv
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from results_world import ensemble, evaluate, make_results
from vqaflow.evaluation.compare import compare
from vqaflow.evaluation.comparison_text import describe
from vqaflow.evaluation.runs.summary import summary_of
from vqaflow.reporting.closing_line import closing_line
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import widest
from vqaflow.runtime.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A weak and a strong run on the same 240 rows."""
    folder = tmp_path_factory.mktemp("runs")
    for name, strength in (("weak", {"original": 0.7}), ("strong", {"hflip": 0.0, "original": 2.5})):
        ensemble(make_results(folder / name, train_rows=240, strength=strength))
    return folder


def answers(run):
    p = pd.read_parquet(run / "ensemble" / "oof.parquet").set_index("id")[["p_a", "p_b", "p_c", "p_d"]]
    truth = pd.read_parquet(run / "tables" / "train.parquet").set_index("id")["answer"]
    chosen = pd.Series(np.array(list("abcd"))[p.to_numpy().argmax(1)], index=p.index)
    return chosen, truth


def test_a_real_gain_is_reported_with_its_tests(runs):
    found = compare(runs / "weak", runs / "strong")
    (a, truth), (b, _) = answers(runs / "weak"), answers(runs / "strong")
    only_a, only_b = int(((a == truth) & (b != truth)).sum()), int(((a != truth) & (b == truth)).sum())
    assert found.overall["gain"] == pytest.approx((b == truth).mean() - (a == truth).mean())
    assert (found.overall["only_first_right"], found.overall["only_second_right"]) == (only_a, only_b)
    assert found.overall["p_value"] < 0.001
    assert 0 < found.overall["bootstrap"][0] < found.overall["gain"] < found.overall["bootstrap"][1]
    lines = list(describe(found))
    assert any(line.startswith("B is better, and by more than noise. (") for line in lines)
    assert sum(line.startswith(("counting ", "color ", "ocr ", "general ")) for line in lines) == 4
    assert sum(summary["n"] for summary in found.by_type.values()) == 240


def test_p_values_by_type_are_corrected_for_their_number(runs):
    """One type in twenty would look better by chance alone."""
    found = compare(runs / "weak", runs / "strong")
    shown = {line.split()[0]: line.split()[-1] for line in describe(found) if "]  " in line}
    assert shown["all"] == f"{found.overall['p_value']:.3g}"
    for qtype, summary in found.by_type.items():
        assert shown[qtype] == f"{summary['p_value']:.3g}"
    gain = found.rows["right_b"].to_numpy().astype(float) - found.rows["right_a"]
    by_type = [np.where(found.rows["qtype"] == qtype, gain, 0) for qtype in found.by_type]
    together = sign_flip_p_values(by_type, found.rows["group"].to_numpy())
    assert [summary["p_value"] for summary in found.by_type.values()] == together


def test_runs_of_a_single_group_are_compared_without_an_interval(runs, tmp_path):
    """All questions about one picture: another picture may differ, and no run is called better."""
    for name in ("weak", "strong"):
        shutil.copytree(runs / name, tmp_path / name)
        change(tmp_path / name, "folds.parquet", lambda frame: frame.assign(group=0))
    lines = list(describe(compare(tmp_path / "weak", tmp_path / "strong")))
    assert any("[one group]" in line for line in lines)
    assert any(line.startswith("The difference is within noise: keep the simpler run. (") for line in lines)
    metrics = evaluate(tmp_path / "strong")
    assert metrics["overall"]["bootstrap"] is None


def test_turned_around_the_other_run_is_better(runs):
    there, back = compare(runs / "weak", runs / "strong"), compare(runs / "strong", runs / "weak")
    assert back.overall["gain"] == -there.overall["gain"] and back.overall["p_value"] == there.overall["p_value"]
    assert any(line.startswith("A is better, and by more than noise. (") for line in describe(back))


def test_every_flip_is_listed_once(runs):
    found = compare(runs / "weak", runs / "strong")
    (a, truth), (b, _) = answers(runs / "weak"), answers(runs / "strong")
    flips = found.flips.set_index("id")
    assert sorted(flips.index) == sorted(a.index[a != b])
    assert (flips["answer_a"] == a[flips.index]).all() and (flips["answer_b"] == b[flips.index]).all()
    gained, lost = flips[flips["change"] == "gained"].index, flips[flips["change"] == "lost"].index
    assert (b[gained] == truth[gained]).all() and (a[lost] == truth[lost]).all()
    assert len(gained) == found.overall["only_second_right"] and len(lost) == found.overall["only_first_right"]
    assert list(flips["change"].drop_duplicates()) == ["gained", "lost", "both wrong"]


def test_a_run_equals_itself(runs):
    found = compare(runs / "weak", runs / "weak")
    assert found.flips.empty and found.overall["gain"] == 0 and found.overall["p_value"] == 1 and found.notes == []
    lines = list(describe(found))
    assert any(line.startswith("The difference is within noise: keep the simpler run. (") for line in lines)
    assert lines[-1] == "0 answers changed: 0 gained, 0 lost, 0 both wrong"


def change(run, name, edit):
    path = run / name
    edit(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.fixture
def other(runs, tmp_path):
    """A copy of the strong run to change."""
    return shutil.copytree(runs / "strong", tmp_path / "other")


def test_rows_of_only_one_run_are_left_out_and_noted(runs, other):
    for name in ("tables/train.parquet", "folds.parquet", "ensemble/oof.parquet"):
        change(other, name, lambda frame: frame.iloc[7:])
    found = compare(runs / "weak", other)
    assert found.overall["n"] == 233
    assert found.notes[0].startswith("7 rows of A are not in B and are left out: 'train_0000', 'train_0001'")


def test_other_folds_and_settings_are_noted(runs, other):
    change(other, "folds.parquet", lambda frame: frame.assign(fold=(frame["fold"] + 1) % 3))
    run = json.loads((other / "adapters/main/fold0/run.json").read_text())
    run["train"]["learning_rate"] = 0.5
    (other / "adapters/main/fold0/run.json").write_text(json.dumps(run))
    notes = compare(runs / "weak", other).notes
    assert notes[0].startswith("240 shared rows are in different folds")
    assert "train.learning_rate: 0.002 in A, 0.5 in B." in notes[1:]


def test_another_question_under_the_same_id_is_refused(runs, other):
    change(other, "tables/train.parquet", lambda frame: frame.assign(question=["x", *frame["question"][1:]]))
    with pytest.raises(UserError, match="rows 'train_0000' have another question, image or answer"):
        compare(runs / "weak", other)


def test_runs_without_a_common_row_are_refused(runs, other):
    for name in ("tables/train.parquet", "folds.parquet", "ensemble/oof.parquet"):
        change(other, name, lambda frame: frame.assign(id="x" + frame["id"]))
    with pytest.raises(UserError, match="no training row in common"):
        compare(runs / "weak", other)


@pytest.mark.parametrize("name", ["tables/train.parquet", "folds.parquet", "ensemble/oof.parquet"])
@pytest.mark.parametrize("harm", ["missing", "damaged", "of other rows"])
def test_a_broken_folder_is_named(runs, other, name, harm):
    if harm == "missing":
        (other / name).unlink()
    elif harm == "damaged":
        (other / name).write_bytes((other / name).read_bytes()[:-100])
    else:
        change(other, name, lambda frame: frame.assign(id=["x", *frame["id"][1:]]))
    with pytest.raises(UserError, match=r"other/.*(missing|damaged)|other: .*differ"):
        compare(runs / "weak", other)


def run_command(*arguments):
    command = [sys.executable, "-m", "vqaflow", "compare", *map(str, arguments)]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)


def test_command_prints_the_table_and_writes_the_csv(runs, tmp_path):
    """Korean questions survive both."""
    done = run_command(runs / "weak", runs / "strong", "--out", tmp_path / "flips.csv")
    assert done.returncode == 0
    assert "B is better" in done.stdout and "more; --out FILE writes all" in done.stdout and "무엇이" in done.stdout
    rows = list(csv.DictReader(io.StringIO((tmp_path / "flips.csv").read_text(encoding="utf-8"))))
    assert len(rows) == len(compare(runs / "weak", runs / "strong").flips) and "무엇이" in rows[0]["question"]


def test_command_fails_in_one_line(runs, tmp_path):
    done = run_command(runs / "weak", tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert "train.parquet: is missing. Run the rule validate_tables." in done.stderr and "Traceback" not in done.stderr


def test_an_accuracy_has_the_same_interval_in_the_closing_line_in_compare_and_among_runs(runs, other):
    """One number, one interval: [0.082, 0.305] here and [0.106, 0.299] there makes a user doubt both."""
    metrics = evaluate(other)
    found = compare(runs / "weak", other)
    assert widest(found.overall["b"]) == widest(metrics["overall"]) == tuple(summary_of(other)["interval"])
    low, high = widest(found.overall["b"])
    assert f"(95 % interval {low:.3f} to {high:.3f}, n = 240)" in closing_line(other, since=0)
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in next(line for line in describe(found) if line.startswith("all "))


def test_groups_of_both_runs_count(runs, other):
    """If one run knows that rows belong together, the other's finer groups must not make the difference surer."""
    change(other, "folds.parquet", lambda frame: frame.assign(group=frame["group"] // 8))
    coarse, fine = compare(runs / "weak", other), compare(runs / "weak", runs / "strong")
    back = compare(other, runs / "weak")
    assert coarse.groups == back.groups < fine.groups
    assert np.ptp(coarse.overall["bootstrap"]) != np.ptp(fine.overall["bootstrap"])
    assert coarse.overall["a"] == fine.overall["a"], "a run's own interval is of its own groups"
