"""From scores to verified results with 2 to 10 choices, and with rows that lack some: nothing is NaN, absent is 0."""

import json

import numpy as np
import pandas as pd
import pytest

from results_world import ensemble, evaluate, make_results, pool_members, several_members
from vqaflow.artifacts.choices import own_letters
from vqaflow.artifacts.columns import ALL_LETTERS, letters_in, probabilities_in
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.recipe_names import LEARNING
from vqaflow.ensemble.calibration import CALIBRATIONS
from vqaflow.ensemble.pooling import POOLS
from vqaflow.evaluation.single_passes import recall_by_position
from vqaflow.evaluation.verify.decision_checks import check_ensemble
from vqaflow.evaluation.verify.member_checks import check_members, check_scores
from vqaflow.evaluation.verify.results import Results
from vqaflow.model.encoding.orders import cyclic_shifts, scoring_orders
from vqaflow.runtime.errors import UserError

PRIORS = np.linspace(0.5, -0.5, 10)


def world(folder, choices, lacking, orders="cyclic", **more):
    folder.mkdir()
    return make_results(
        folder,
        members=several_members(folder),
        orders=tuple(scoring_orders(orders, ALL_LETTERS[:choices])),
        prior=PRIORS[:choices],
        lacking=lacking,
        unusable=3,
        **more,
    )


@pytest.fixture(scope="module", params=[(2, False), (3, True), (5, True), (10, True)], ids=str)
def results(request, tmp_path_factory):
    return world(tmp_path_factory.mktemp("world") / "results", *request.param)


def check_probabilities(results, path, split):
    """Absent choices have exactly 0, the others more, also of rows without a usable image; all sum to 1."""
    table = pd.read_parquet(ResultsFolder(results).table(split))
    frame = pd.read_parquet(path)
    p_NC = frame[probabilities_in(frame)].to_numpy()
    there_NC = table[list(letters_in(table))].notna().to_numpy()
    assert p_NC.shape == there_NC.shape and ((p_NC > 0) == there_NC).all()
    np.testing.assert_allclose(p_NC.sum(1), 1, atol=1e-9)
    return p_NC


@pytest.mark.parametrize("calibration", CALIBRATIONS)
@pytest.mark.parametrize("pooling", POOLS)
def test_every_pool_gives_absent_choices_exactly_nothing(results, pooling, calibration):
    """An absent choice with any probability could be submitted; a NaN would be submitted as the first letter."""
    recipe = ensemble(results, recipe="default", pooling=pooling, calibration=calibration)
    at = ResultsFolder(results)
    oof_NC = check_probabilities(results, at.probabilities("oof"), "train")
    check_probabilities(results, at.probabilities("test"), "test")
    answers = pd.read_parquet(at.table("train"))["answer"].map(ALL_LETTERS.index)
    assert (oof_NC.argmax(1) == answers).mean() == recipe["nested"]["accuracy"] > 1.5 / oof_NC.shape[1]
    assert pooling in LEARNING or recipe["learned"] is None
    for name in at.members():
        check_probabilities(results, at.member(name).answers("oof"), "train")
        check_probabilities(results, at.member(name).answers("test"), "test")


@pytest.mark.parametrize("how", ["geometric", "arithmetic", "prior"])
def test_whole_runs_are_evaluated_and_verified(results, how):
    """A number that is NaN stops evaluate_oof, and what verify cannot recompute is called damaged."""
    ensemble(results, order_pooling=how)
    metrics = evaluate(results)
    choices = len(letters_in(pd.read_parquet(ResultsFolder(results).table("train"))))
    assert np.shape(metrics["confusion"]) == (choices, choices) and np.sum(metrics["confusion"]) == 120
    assert len(metrics["position_bias"]["views"]["main/seed1/original"]["recall"]) == choices
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    found = Results(ResultsFolder(results))
    assert "orders, each OOF row" in check_scores(found)
    assert check_members(found) and check_ensemble(found)
    page = (results / "evaluation" / "mistakes.html").read_text(encoding="utf-8")
    assert f'"letters":{json.dumps(list(ALL_LETTERS[:choices]), separators=(",", ":"))}' in page


def test_an_absent_choice_changes_nothing_for_the_others(tmp_path):
    """Rows of three choices are pooled alike in a table of three and in one of four whose last choice they lack."""
    made = {}
    for name, columns in {"three": 3, "four": 4}.items():
        folder = world(tmp_path / name, 3, False)
        if columns == 4:
            with_an_empty_choice(folder)
        for pooling in ("mean", "log_mean", "weighted", "vote"):
            ensemble(folder, recipe="default", pooling=pooling)
            frame = pd.read_parquet(ResultsFolder(folder).probabilities("test"))
            assert len(probabilities_in(frame)) == columns
            made[name, pooling] = frame[["p_a", "p_b", "p_c"]].to_numpy()
    for pooling in ("mean", "log_mean", "weighted", "vote"):
        np.testing.assert_allclose(made["three", pooling], made["four", pooling], atol=1e-6)


def with_an_empty_choice(folder):
    """The same tables, scores and files with a fourth choice, which no row has."""
    at = ResultsFolder(folder)
    for split in ("train", "test"):
        table = pd.read_parquet(at.table(split))
        table.assign(d=pd.Series([None] * len(table), dtype=object)).to_parquet(at.table(split), index=False)
    shifts = dict(zip(cyclic_shifts("abc"), ("abcd", "bcda", "cdab"), strict=True))
    for path in at.all_scores():
        scores = pd.read_parquet(path)
        scores = scores.assign(order=scores["order"].map(shifts), logit_d=np.float32(-np.inf))
        scores.to_parquet(path, index=False)
    for path in folder.glob("friend_*.csv"):
        pd.read_csv(path).assign(p_d="").to_csv(path, index=False)


def test_a_file_that_answers_an_absent_choice_is_told(tmp_path):
    """Someone's model did not know that the choice is empty: its share must go to the others, and be said."""
    folder = world(tmp_path / "results", 4, True)
    path = folder / "friend_oof.csv"
    frame = pd.read_csv(path)
    given = frame[probabilities_in(frame)].to_numpy() + 0.1
    frame[probabilities_in(frame)] = given / given.sum(1, keepdims=True)
    frame.to_csv(path, index=False)
    pool_members(folder)
    note = json.loads(ResultsFolder(folder).member("friend").note.read_text(encoding="utf-8"))["note"]
    assert "40 rows" in note and "is empty in the table; it is shared by their other choices" in note
    check_probabilities(folder, ResultsFolder(folder).member("friend").answers("oof"), "train")
    lacks = frame[frame["id"] == "train_0000"].index[0]
    table = pd.read_parquet(ResultsFolder(folder).table("train"))
    own = own_letters(table)[0]
    frame.loc[lacks, [f"p_{letter}" for letter in "abcd"]] = [float(letter not in own) for letter in "abcd"]
    frame.to_csv(path, index=False)
    with pytest.raises(UserError, match=r"friend_oof\.csv: rows 'train_0000' give nothing to the choices"):
        pool_members(folder)


def test_scores_of_other_choices_are_refused(tmp_path):
    """The table was changed since the scores were made: a choice was added to a row, or taken away."""
    folder = world(tmp_path / "results", 4, True)
    table = pd.read_parquet(ResultsFolder(folder).table("train"))
    lacking = table.index[table[list("abcd")].isna().any(axis=1)]
    table.loc[lacking[0], list("abcd")] = "x"
    table.to_parquet(ResultsFolder(folder).table("train"), index=False)
    with pytest.raises(UserError, match=f"{table['id'][lacking[0]]}.* have other choices there than in the tables"):
        pool_members(folder)


def test_an_infinite_logit_of_a_choice_that_is_there_is_refused(tmp_path):
    """Only a whole choice may be absent, in every order alike; else a broken pass would count as a missing choice."""
    folder = world(tmp_path / "results", 4, False)
    path = ResultsFolder(folder).all_scores("main")[0]
    scores = pd.read_parquet(path)
    scores.loc[0, "logit_b"] = -np.inf
    scores.to_parquet(path, index=False)
    with pytest.raises(UserError, match=f"rows '{scores['id'][0]}' have a repeated order or a logit that is"):
        pool_members(folder)


def test_positions_of_a_row_are_counted_without_the_choices_that_it_lacks():
    """A row "abd" shows d at the third position: counted at the fourth, bias would be seen where there is none."""
    own_N, answers_N = np.array(["abd", "abd", "abcd"]), np.array([3, 0, 3])
    predicted = {"abcd": np.array([3, 3, 0]), "dabc": np.array([3, 0, 3])}
    recall = recall_by_position(predicted, answers_N, own_N, "abcd")
    # at the first position: d in "dabc" twice, both right, and a in "abcd", wrong; at the second: a in "dab", right
    assert recall == [pytest.approx(2 / 3), 1.0, 1.0, 0.0]
