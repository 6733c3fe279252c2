"""From score files to probabilities: nothing missing, nothing leaked, no noise taken for a gain."""

import shutil

import numpy as np
import pandas as pd
import pytest

from folders import folder_digest
from results_world import LOGITS, ensemble, make_results
from vqaflow.ensemble.recipes import Oof, Procedure, Recipe, choose, cross_fit, fit, nested, parts_of
from vqaflow.runtime.errors import UserError

P = ["p_a", "p_b", "p_c", "p_d"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("world") / "results")


@pytest.fixture
def results(scored, tmp_path):
    """A copy to damage."""
    return shutil.copytree(scored, tmp_path / "results")


def edit(path, change):
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def read(results, split):
    return pd.read_parquet(results / "ensemble" / f"{split}.parquet")


def test_every_row_gets_probabilities_that_sum_to_1(results):
    ensemble(results)
    for split in ("train", "test"):
        table = pd.read_parquet(results / "tables" / f"{split}.parquet")
        made = read(results, {"train": "oof", "test": "test"}[split])
        assert list(made["id"]) == list(table["id"])
        assert (made[P].dtypes == "float64").all()
        np.testing.assert_allclose(made[P].sum(axis=1), 1, atol=1e-12)
    assert list(read(results, "test")) == ["id", *P]
    assert list(read(results, "oof")) == ["id", *P, "fold"]


def test_noise_keeps_the_default_and_the_report_says_so(results):
    recipe = ensemble(results)
    assert recipe["chosen"] == recipe["default"] == "geometric+mean"
    assert len(recipe["candidates"]) == 10
    for candidate in recipe["candidates"]:
        low, high = candidate["wilson"]
        assert low <= candidate["accuracy"] <= high
        assert (candidate["against_default"] is None) == (candidate["name"] == "geometric+mean")


def test_answers_without_signal_never_look_better_than_chance(tmp_path):
    """The reported accuracy is the nested one: choosing among ten recipes on noise gains nothing."""
    results = make_results(tmp_path / "results", train_rows=800, strength={"original": 0.0, "hflip": 0.0})
    recipe = ensemble(results)
    assert recipe["chosen"] == recipe["default"]
    low, high = recipe["nested"]["wilson"]
    assert low < 0.25 < high


def test_a_view_that_misleads_is_outvoted_by_what_is_learned(tmp_path):
    results = make_results(tmp_path / "results", train_rows=600, strength={"original": 2.0, "hflip": -3.0})
    recipe = ensemble(results)
    assert recipe["chosen"] != recipe["default"]
    accuracy = {c["name"]: c["accuracy"] for c in recipe["candidates"]}
    assert recipe["nested"]["accuracy"] > accuracy["geometric+mean"] + 0.03
    assert recipe["nested"]["against_default"]["bootstrap"][0] > 0


def test_the_oof_file_has_the_nested_accuracy(tmp_path):
    """What evaluate_oof measures on the file is the number that was not optimised."""
    results = make_results(tmp_path / "results", train_rows=600, strength={"original": 2.0, "hflip": -3.0})
    recipe = ensemble(results)
    answers = pd.read_parquet(results / "tables" / "train.parquet")["answer"]
    predicted = np.array(list("abcd"))[read(results, "oof")[P].to_numpy().argmax(1)]
    assert (predicted == answers).mean() == recipe["nested"]["accuracy"]


@pytest.mark.parametrize("name", ["prior+stacking", "arithmetic+log_mean", "geometric+vote"])
def test_a_candidate_can_be_named(results, name):
    recipe = ensemble(results, recipe=name)
    assert recipe["chosen"] == name and recipe["order_pooling"] + "+" + recipe["pooling"] == name


def test_default_is_what_the_config_says(results):
    recipe = ensemble(results, recipe="default", order_pooling="arithmetic", pooling="weighted")
    assert recipe["chosen"] == recipe["default"] == "arithmetic+weighted"
    assert sum(recipe["learned"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "geometric+staking"}, r"ensemble\.recipe: 'geometric\+staking' is unknown.*geometric\+stacking"),
        ({"pooling": "wieghted"}, r"ensemble\.pooling.*weighted"),
        ({"calibration": "temprature"}, r"ensemble\.calibration.*temperature"),
        ({"order_pooling": "harmonic"}, r"ensemble\.order_pooling"),
        ({"recepie": "auto"}, "unknown key 'recepie'.*recipe"),
    ],
)
def test_a_typo_names_the_nearest(results, settings, message):
    with pytest.raises(UserError, match=message):
        ensemble(results, **settings)
    assert not (results / "ensemble").exists()


def test_temperature_changes_no_answer(results):
    answers = {}
    for calibration in ("temperature", "none"):
        recipe = ensemble(results, calibration=calibration)
        answers[calibration] = [read(results, split)[P].to_numpy().argmax(1).tolist() for split in ("oof", "test")]
    assert answers["temperature"] == answers["none"]
    assert recipe["calibration"]["before"] == recipe["calibration"]["after"]


def test_calibration_reports_before_and_after(results):
    calibration = ensemble(results)["calibration"]
    assert calibration["learned"]["temperature"] > 0
    assert calibration["after"]["nll"] < calibration["before"]["nll"]


def test_unusable_test_rows_get_equal_probabilities(tmp_path):
    """A quarantined row stays in the submission and claims no knowledge."""
    results = make_results(tmp_path / "results", unusable=2)
    recipe = ensemble(results)
    assert (read(results, "test")[P].to_numpy()[:2] == 0.25).all()
    assert recipe["test"] == {"rows": 40, "unusable": 2, "unusable_ids": ["test_0000", "test_0001"]}


def test_an_absent_view_leaves_the_rows_other_views(results):
    """Rows that must not be flipped are answered by the original view alone."""
    ensemble(results, recipe="default", calibration="none")
    table, made = pd.read_parquet(results / "tables" / "test.parquet"), read(results, "test").set_index("id")
    unsafe = list(table["id"][table["flip_unsafe"]])
    expected = 0
    for fold in range(3):
        scores = pd.read_parquet(results / f"scores/test/fold{fold}/original.parquet")
        logits = scores[LOGITS].to_numpy(np.float64)
        logp = pd.DataFrame(logits - np.log(np.exp(logits).sum(1, keepdims=True)), columns=P).groupby(scores["id"])
        p = np.exp(logp.mean().loc[unsafe])
        expected = expected + p.div(p.sum(axis=1), axis=0) / 3
    np.testing.assert_allclose(made.loc[unsafe, P], expected, atol=1e-6)


def test_equal_scores_give_equal_bytes(results):
    ensemble(results)
    first = folder_digest(results / "ensemble")
    ensemble(results)
    assert folder_digest(results / "ensemble") == first


def test_the_sequence_of_rows_in_a_file_does_not_matter(results):
    ensemble(results)
    before = read(results, "test")
    for path in results.glob("scores/*/*/*.parquet"):
        edit(path, lambda frame: frame.sample(frac=1, random_state=1))
    ensemble(results)
    pd.testing.assert_frame_equal(read(results, "test"), before)


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("test/fold1/original", lambda f: f[f["id"] != "test_0003"], "no scores for rows 'test_0003'"),
        ("test/fold1/original", lambda f: f.iloc[1:], "'test_0000' do not have each of the 4 orders once"),
        ("test/fold1/hflip", lambda f: pd.concat([f, f.iloc[[3]]]), "do not have each of the 4 orders once"),
        ("oof/fold0/original", lambda f: f.iloc[8:], "no scores for rows"),
        ("oof/fold0/original", lambda f: f.assign(id=f["id"].replace("train_0000", "train_0004")), "in another fold"),
        ("oof/fold0/original", lambda f: f.assign(id=f["id"].replace("train_0000", "x")), "'x'"),
        ("oof/fold2/hflip", lambda f: f.assign(logit_a=np.nan), "not a finite number"),
        ("oof/fold2/hflip", lambda f: f.assign(order="abca"), "'abca' is not an order"),
    ],
)
def test_damaged_scores_are_named(results, place, change, message):
    path = results / "scores" / f"{place}.parquet"
    edit(path, change)
    with pytest.raises(UserError, match=message) as error:
        ensemble(results)
    assert place.split("/")[1] in str(error.value)
    assert not (results / "ensemble" / "test.parquet").exists()


def test_a_cut_off_file_is_named(results):
    path = results / "scores/test/fold1/original.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"test/fold1/original\.parquet: is damaged .*run the rule score_choices again"):
        ensemble(results)


def test_a_missing_file_is_named(results):
    (results / "scores/test/fold1/hflip.parquet").unlink()
    with pytest.raises(UserError, match=r"scores/test/fold1/hflip\.parquet: is missing"):
        ensemble(results)
    (results / "scores/oof/fold1/hflip.parquet").unlink()
    assert ensemble(results)["folds"] == [0, 1, 2]  # a fold may lack a view
    shutil.rmtree(results / "scores/test/fold1")
    shutil.rmtree(results / "scores/oof/fold1")
    with pytest.raises(UserError, match="fold1: it has no scores"):
        ensemble(results)


def test_folds_of_another_table_are_refused(results):
    edit(results / "folds.parquet", lambda frame: frame.iloc[1:])
    with pytest.raises(UserError, match="'train_0000' are only in .*make_folds"):
        ensemble(results)


def test_one_order_offers_no_prior(tmp_path):
    results = make_results(tmp_path / "results", orders=["abcd"])
    assert len(ensemble(results)["candidates"]) == 10
    with pytest.raises(UserError, match="position prior cannot be estimated.*cyclic"):
        ensemble(results, order_pooling="prior")


def test_a_prior_competes_only_where_its_removal_changes_something(tmp_path):
    """Five copies of the geometric recipes would raise the bar that a real gain has to clear."""
    uneven = make_results(tmp_path / "uneven", orders=["abcd", "badc", "dabc"])
    assert len(ensemble(uneven)["candidates"]) == 15
    cyclic = make_results(tmp_path / "cyclic")
    assert not any(candidate["name"].startswith("prior") for candidate in ensemble(cyclic)["candidates"])
    assert ensemble(cyclic, recipe="default", order_pooling="prior")["chosen"] == "prior+mean"


def test_a_view_may_have_no_row_in_a_fold(results):
    """A view for small margins can be empty where the model is sure everywhere."""
    edit(results / "scores/oof/fold0/hflip.parquet", lambda frame: frame.iloc[:0])
    edit(results / "scores/test/fold2/hflip.parquet", lambda frame: frame.iloc[:0])
    for recipe in ("auto", "prior+stacking"):
        ensemble(results, recipe=recipe)
        np.testing.assert_allclose(read(results, "test")[P].sum(axis=1), 1, atol=1e-12)


def test_parts_keep_groups_whole_and_sizes_even():
    """A picture's rows on both sides would let a pool be judged on what it was fitted to."""
    groups = np.random.default_rng(0).integers(0, 50, 400)
    parts = parts_of(groups, 5, seed=1)
    assert sorted(np.concatenate(parts)) == list(range(400))
    assert all(not set(groups[a]) & set(groups[b]) for i, a in enumerate(parts) for b in parts[:i])
    assert max(map(len, parts)) - min(map(len, parts)) <= 5


STACKED = Recipe("geometric", "stacking")


def noise_in_groups():
    """400 rows that say nothing of their answers; those of a group are equal, so that one gives the others away."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 4)
    logp_NVC = np.log(rng.dirichlet(np.ones(4), (100, 8)))[groups]
    return Oof({"geometric": logp_NVC}, rng.integers(0, 4, 100)[groups], groups)


def test_a_pool_that_learns_is_judged_on_groups_that_it_has_not_seen():
    """Noise would be reported as 58 % right if pools learned from the rows they answer, 48 % if from their groups."""
    oof = noise_in_groups()
    held_out = nested(Procedure((STACKED,), "none", 0), oof).calibrated_NC
    for probabilities_NC in (held_out, cross_fit(STACKED, oof, np.arange(400), 0)):
        assert (probabilities_NC.argmax(1) == oof.answers_N).mean() < 0.35


def test_calibration_learns_how_sure_a_pool_is_of_new_rows():
    """On rows that the pool was fitted to, noise looks like knowledge, and the submission would be far too sure."""
    oof = noise_in_groups()
    fitted, _ = fit(Procedure((STACKED,), "temperature", 0), oof, np.arange(400))
    sure_N = fitted.calibrate(fitted.pool(oof.logp["geometric"])).max(1)
    assert sure_N.mean() < 0.35


def test_many_candidates_need_a_clearer_gain():
    """The best of many by chance would be taken for better: McNemar's p is 0.013 for one try, and seven were made."""
    hit, miss = [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]
    right = {"geometric": np.arange(200) < 100, "arithmetic": (np.arange(200) >= 3) & (np.arange(200) < 114)}
    logp = {how: np.log(np.where(right_N[:, None, None], hit, miss)) for how, right_N in right.items()}
    oof, rows = Oof(logp, np.zeros(200, int), np.arange(200)), np.arange(200)
    eight = tuple(Recipe(how, pooling) for pooling in ("mean", "log_mean", "weighted", "vote") for how in logp)
    assert choose(Procedure(eight[:2], "none", 0), oof, rows).recipe == eight[1]
    assert choose(Procedure(eight, "none", 0), oof, rows).recipe == eight[0]
