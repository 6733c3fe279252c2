"""The evaluation: every number against a plain count of the same thing, and nothing that the run must not know."""

import json
import shutil
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from folders import folder_digest
from results_world import ensemble, evaluate, make_results, submit
from vqaflow.evaluation.figures import FIGURES
from vqaflow.evaluation.metrics import checkpoint_choice
from vqaflow.evaluation.mistakes import LIMITS
from vqaflow.reporting.closing_line import closing_line
from vqaflow.reporting.statistics import wilson
from vqaflow.runtime.errors import UserError

P = ["p_a", "p_b", "p_c", "p_d"]
LOGITS = ["logit_a", "logit_b", "logit_c", "logit_d"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A results folder with 240 OOF rows; view hflip leaves out every fifth row."""
    folder = make_results(tmp_path_factory.mktemp("world") / "results", train_rows=240)
    ensemble(folder)
    return folder, evaluate(folder)


@pytest.fixture
def results(evaluated, tmp_path):
    """A copy of the folder to go on with."""
    return shutil.copytree(evaluated[0], tmp_path / "results")


@pytest.fixture(scope="module")
def rows(evaluated):
    """Answers and OOF predictions, joined here."""
    folder, _ = evaluated
    table = pd.read_parquet(folder / "tables" / "train.parquet").set_index("id")
    table["fold"] = pd.read_parquet(folder / "folds.parquet").set_index("id")["fold"]
    p = pd.read_parquet(folder / "ensemble" / "oof.parquet").set_index("id")[P].loc[table.index]
    table["predicted"] = np.array(list("abcd"))[p.to_numpy().argmax(1)]
    table["right"] = table["predicted"] == table["answer"]
    table["confidence"] = p.max(axis=1)
    return table


def test_accuracy_has_its_n_and_both_intervals(evaluated, rows):
    overall = evaluated[1]["overall"]
    right = int(rows["right"].sum())
    assert (overall["right"], overall["n"], overall["accuracy"]) == (right, 240, right / 240)
    assert overall["wilson"] == pytest.approx(wilson(right, 240))
    low, high = overall["bootstrap"]
    assert low < overall["accuracy"] < high


@pytest.mark.parametrize(("key", "column"), [("by_type", "qtype"), ("by_fold", "fold")])
def test_parts_are_counted_right(evaluated, rows, key, column):
    parts = evaluated[1][key]
    assert sum(part["n"] for part in parts.values()) == 240
    for value, part in rows.groupby(column):
        assert parts[str(value)]["right"] == part["right"].sum()


def pooled_by_hand(folder, view):
    """Each row's letter by the mean log-probability over the orders of one view's OOF scores."""
    scores = pd.concat([pd.read_parquet(path) for path in folder.glob(f"scores/main/oof/*/{view}.parquet")])
    logits = scores[LOGITS].to_numpy(np.float64)
    logp = pd.DataFrame(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).groupby(scores["id"].to_numpy())
    mean = logp.mean()
    return pd.Series(np.array(list("abcd"))[mean.to_numpy().argmax(1)], index=mean.index), scores


@pytest.mark.parametrize("view", ["original", "hflip"])
def test_views_orders_and_positions_are_counted_right(evaluated, rows, view):
    folder, metrics = evaluated
    chosen, scores = pooled_by_hand(folder, view)
    summary = metrics["by_view"][view]
    assert summary["n"] == len(chosen) == (240 if view == "original" else 192)
    assert summary["right"] == (chosen == rows["answer"].loc[chosen.index]).sum()
    ensemble_right = rows["right"].loc[chosen.index].mean()
    assert summary["ensemble_against_it"]["gain"] == pytest.approx(ensemble_right - summary["accuracy"])
    scores["predicted"] = np.array(list("abcd"))[scores[LOGITS].to_numpy().argmax(1)]
    scores["answer"] = rows["answer"].loc[scores["id"]].to_numpy()
    for order, part in scores.groupby("order"):
        assert metrics["by_order"][view][order]["right"] == (part["predicted"] == part["answer"]).sum()
    same = scores.groupby("id")["predicted"].nunique() == 1
    assert metrics["order_consistency"][view]["share"] == pytest.approx(same.mean())
    shown_at = [order.index(answer) for order, answer in zip(scores["order"], scores["answer"], strict=True)]
    recall = (scores["predicted"] == scores["answer"]).groupby(shown_at).mean()
    bias = metrics["position_bias"]["views"][view]
    assert bias["recall"] == pytest.approx(list(recall)) and bias["rstd"] == pytest.approx(recall.std(ddof=0))


def test_a_position_bias_in_the_scores_is_seen(evaluated):
    """The scores favour position a and disfavour d; pooling over the orders takes most of it away."""
    bias = evaluated[1]["position_bias"]
    first, _, _, last = bias["views"]["original"]["recall"]
    assert first > last + 0.1
    assert bias["ensemble"]["rstd"] < bias["views"]["original"]["rstd"]


def test_confusion_and_recall_agree(evaluated, rows):
    metrics = evaluated[1]
    expected = pd.crosstab(rows["answer"], rows["predicted"]).reindex(index=list("abcd"), columns=list("abcd"))
    assert metrics["confusion"] == expected.fillna(0).astype(int).to_numpy().tolist()
    counts = np.array(metrics["confusion"])
    assert metrics["position_bias"]["ensemble"]["recall"] == pytest.approx(list(counts.diagonal() / counts.sum(1)))


def test_coverage_ends_at_the_accuracy_and_margins_hold_all_rows(evaluated, rows):
    metrics = evaluated[1]
    assert metrics["coverage"]["coverage"][-1] == 1
    assert metrics["coverage"]["accuracy"][-1] == pytest.approx(rows["right"].mean())
    surest = rows.sort_values("confidence", ascending=False)["right"].head(120)
    at_half = metrics["coverage"]["coverage"].index(0.5)
    assert metrics["coverage"]["accuracy"][at_half] == pytest.approx(surest.mean())
    assert sum(part["n"] for part in metrics["by_margin"]) == 240


def test_errors_of_views_and_answers_of_folds_are_compared(evaluated, rows):
    folder, metrics = evaluated
    wrong = [
        chosen != rows["answer"].loc[chosen.index]
        for chosen, _ in (pooled_by_hand(folder, v) for v in ("original", "hflip"))
    ]
    both = pd.concat(wrong, axis=1, join="inner").astype(float)
    views = metrics["error_correlation"]["views"]
    assert views["names"] == ["original", "hflip"]
    assert views["correlation"][0][1] == pytest.approx(both.corr().iloc[0, 1])
    folds = metrics["error_correlation"]["folds"]
    agreement = np.array(folds["agreement"])
    assert folds["names"] == ["fold0", "fold1", "fold2"] and folds["n"] == 40
    assert (agreement.diagonal() == 1).all() and (agreement == agreement.T).all()
    assert folds["unanimous"] <= agreement.min() < 1


def test_learning_curves_come_from_the_logs_that_training_writes(evaluated):
    learning = evaluated[1]["learning"]
    assert list(learning) == ["fold0", "fold1", "fold2"]
    assert learning["fold1"] == pytest.approx(
        {"steps": 10, "epochs": 2.0, "last_loss": 0.14, "best_val_accuracy": 0.81, "best_step": 10}
        | dict.fromkeys(["kept_step", "kept_epoch", "kept_val_accuracy", "label_mass"])
    )


def test_the_headline_says_that_it_is_of_one_adapter_and_what_to_expect_of_all(evaluated):
    """The submission averages the folds' adapters: the demo's OOF interval excluded the demo's own test accuracy."""
    folder, metrics = evaluated
    recipe = json.loads((folder / "ensemble" / "recipe.json").read_text())
    assert "one adapter of each tuned member per row" in metrics["overall"]["of"]
    assert metrics["expected"] == {
        **recipe["expected"], "gain_of_averaging": recipe["test"]["gain_of_averaging"]
    }  # fmt: skip
    gain = metrics["expected"]["gain_of_averaging"]["gain"]
    assert metrics["expected"]["accuracy"] == pytest.approx(min(1, metrics["overall"]["accuracy"] + gain))
    text = metrics["leaderboard"]["text"]
    assert f"expect {100 * metrics['expected']['accuracy']:.2f} % on new rows, {100 * gain:+.2f} points from" in text


def test_the_leaderboard_s_scatter_is_that_of_its_size(evaluated):
    """At 92 % and 3,887 rows it is ±0.85 points: smaller steps on a leaderboard are noise."""
    board, expected = evaluated[1]["leaderboard"], evaluated[1]["expected"]
    p = board["accuracy"]
    assert board["test_rows"] == 40 and p == expected["accuracy"]
    assert board["half_width"] == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / 40), rel=1e-6)
    assert board["interval_with_oof"] == expected["score_interval"]
    assert board["half_width_with_oof"] > max(board["half_width"], np.ptp(expected["interval"]) / 2)


def test_the_leaderboard_leaves_out_the_rows_without_an_image(tmp_path):
    """They are answered by their text alone: the accuracy that is expected of the others says nothing of them."""
    folder = make_results(tmp_path / "results", unusable=10)
    ensemble(folder)
    board = evaluate(folder)["leaderboard"]
    assert board["test_rows"] == 30 and "of 30 rows without the 10 that have no usable image" in board["text"]


def test_the_folder_is_whole_and_every_figure_opens(evaluated):
    folder, _ = evaluated
    names = {path.name for path in (folder / "evaluation").iterdir()}
    assert names == {
        "metrics.json",
        "costs.json",
        *(f"{figure}.png" for figure in FIGURES),
        *LIMITS,
        "picks.html",
        "summary.html",
    }
    for figure in FIGURES:
        with Image.open(folder / "evaluation" / f"{figure}.png") as image:
            image.load()
            assert min(image.size) > 300


def test_equal_inputs_give_equal_bytes_whatever_the_test_answers_are(results):
    """The demo's answers lie in the results folder: only the closing line may read them."""
    before = folder_digest(results / "evaluation")
    write_test_answers(results)
    evaluate(results)
    assert folder_digest(results / "evaluation") == before


def write_test_answers(folder):
    ids = pd.read_parquet(folder / "tables" / "test.parquet")["id"]
    (folder / "demo").mkdir(exist_ok=True)
    pd.DataFrame({"id": ids, "answer": "a"}).to_csv(folder / "demo" / "test_answers.csv", index=False)


def test_what_choosing_the_epoch_by_oof_rows_may_add_is_reported():
    """OOF accuracy is the number that train.keep: best optimised, and a reader must know by about how much."""
    curves = {"fold0": [0.5, 0.9, 0.8], "fold1": [0.6, 0.7, 0.7], "fold2": [np.nan, 0.5, np.nan]}
    logs = {fold: pd.DataFrame({"val_accuracy": curve}) for fold, curve in curves.items()}
    report = checkpoint_choice(logs, dict.fromkeys(curves, "best"))
    assert report["best_minus_last"] == pytest.approx(0.1 / 3) and "3.33 points" in report["text"]
    assert checkpoint_choice({}, {})["best_minus_last"] == 0


def test_no_choice_is_claimed_where_the_last_epoch_was_kept(results):
    """It said that the best epoch was chosen, whatever the configuration said."""
    for path in results.glob("adapters/main/*/run.json"):
        run = json.loads(path.read_text())
        run["train"]["keep"] = "last" if "fold0" in str(path) else "best"
        path.write_text(json.dumps(run))
    choice = evaluate(results)["checkpoint_choice"]
    assert choice["adapters"] == 2 and "chose epochs" in choice["text"]
    for path in results.glob("adapters/main/*/run.json"):
        path.write_text(path.read_text().replace('"best"', '"last"'))
    assert evaluate(results)["checkpoint_choice"] == {
        "best_minus_last": 0.0,
        "adapters": 0,
        "text": "no epoch was chosen by OOF rows",
    }


def test_a_run_ends_with_its_accuracy(evaluated, results):
    metrics = evaluated[1]
    submit(results)
    write_test_answers(results)
    intervals = np.array([metrics["overall"]["wilson"], metrics["overall"]["bootstrap"]])
    low, high = intervals[:, 0].min(), intervals[:, 1].max()
    line = closing_line(results, since=0)
    expected = f"OOF accuracy {metrics['overall']['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, n = 240)"
    assert expected in line
    new = metrics["expected"]
    low, high = new["score_interval"]
    assert (
        f"; expected on 40 new rows {new['accuracy']:.3f} (95 % prediction interval {low:.3f} to {high:.3f}); demo"
        in line
    )
    letters = json.loads((results / "submission.validated.json").read_text())["letters"]
    assert f"demo held-out accuracy {letters['a'] / 40:.3f}" in line and "n = 40" in line


def test_a_run_ends_well_under_the_users_own_headers(results):
    """A sample submission with the headers ID and label is accepted, so the last line must not need others."""
    submit(results)
    write_test_answers(results)
    before = closing_line(results, since=0)
    submission = results / "submission.csv"
    lines = submission.read_text(encoding="utf-8").splitlines()
    submission.write_text("\n".join(["ID,label", *lines[1:], ""]), encoding="utf-8")
    assert "demo held-out accuracy" in before and closing_line(results, since=0) == before


def test_a_run_says_how_many_test_answers_are_known(results):
    """The submission's score is then not one on new rows."""
    submit(results)
    assert "repeat a training row" not in closing_line(results, since=0)
    (results / "eda").mkdir()
    summary = results / "eda" / "summary.json"
    for count in (0, 12):
        summary.write_text(json.dumps({"repeats": {"test_rows_of_known_answer": count}}), encoding="utf-8")
        assert ("; 12 test rows repeat a training row" in closing_line(results, since=0)) == bool(count)


def test_a_run_claims_nothing_that_it_has_not_made(tmp_path):
    """New folds alone have no accuracy yet, `help` makes none, and a submission that is gone is not to be handed in."""
    folder = make_results(tmp_path / "results")
    ensemble(folder)
    evaluate(folder)
    assert closing_line(folder, since=time.time() + 1) == "vqaflow: done"
    assert "OOF accuracy" in closing_line(folder, since=0) and "submission" not in closing_line(folder, since=0)


def test_without_training_logs_the_rest_is_measured(tmp_path):
    """Adapters that come from elsewhere may lack a log, and what training told of it."""
    folder = make_results(tmp_path / "results")
    ensemble(folder)
    for name in ("log.csv", "run.json"):
        for path in folder.glob(f"adapters/main/*/{name}"):
            path.unlink()
    metrics = evaluate(folder)
    assert metrics["learning"] == {} and (folder / "evaluation" / "learning.png").exists()


@pytest.mark.parametrize("gone", [("log.csv",), ("run.json",), ("run.json", "log.csv")])
def test_half_of_what_a_training_told_is_no_evaluation(tmp_path, gone):
    """Its figures would lack one training of several, without a word."""
    folder = make_results(tmp_path / "results")
    ensemble(folder)
    adapter = folder / "adapters/main/fold1"
    for name in gone:
        (adapter / name).unlink()
    with pytest.raises(UserError, match=rf"fold1/{gone[0]}: is missing\. Run the rule train_adapter"):
        evaluate(folder)


def test_rows_of_another_run_are_refused_and_the_old_evaluation_stays(tmp_path):
    folder = make_results(tmp_path / "results")
    ensemble(folder)
    evaluate(folder)
    before = folder_digest(folder / "evaluation")
    path = folder / "tables" / "train.parquet"
    pd.read_parquet(path)[1:].to_parquet(path, index=False)
    with pytest.raises(UserError, match=r"oof\.parquet: rows 'train_0000' are only in this file or only in"):
        evaluate(folder)
    assert folder_digest(folder / "evaluation") == before
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_columns_of_the_user_do_not_meddle_with_what_is_evaluated(tmp_path):
    """An earlier model's probabilities in train.csv ended the run with an error after all the training."""
    plain, own = (make_results(tmp_path / name) for name in ("plain", "own"))
    path = own / "tables" / "train.parquet"
    extras = dict.fromkeys([*P, *LOGITS, "fold_x", "order", "view", "right", "confidence", "doubt"], "0.5")
    pd.read_parquet(path).assign(**extras).to_parquet(path, index=False)
    assert ensemble(own) == ensemble(plain)
    assert evaluate(own) == evaluate(plain)


def test_one_view_one_order_and_a_view_without_rows_are_drawn(tmp_path):
    """The smallest configuration has no second view to compare with."""
    folder = make_results(tmp_path / "results", strength={"original": 1.0}, orders=["abcd"], folds=2)
    ensemble(folder)
    metrics = evaluate(folder)
    assert metrics["error_correlation"]["views"]["correlation"] == [[pytest.approx(1.0)]]
    assert metrics["order_consistency"]["original"]["share"] == 1.0


def test_perfect_answers_are_drawn(tmp_path):
    """No wrong row: no error correlation, no gallery to fill, nothing to divide by."""
    folder = make_results(tmp_path / "results", strength={"original": 60.0})
    ensemble(folder)
    metrics = evaluate(folder)
    assert metrics["overall"]["accuracy"] == 1 and metrics["overall"]["wilson"][1] == 1
    assert metrics["error_correlation"]["views"]["correlation"] == [[None]]
