"""From members to probabilities: nothing missing, nothing leaked, no noise taken for a gain."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from folders import folder_digest
from results_world import ENSEMBLE, ensemble, foreign_member, make_results, member, pool_members, several_members
from vqaflow.artifacts.choices import read_with_letters
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.ensemble.ensemble_probabilities import ensemble_probabilities
from vqaflow.ensemble.recipe_file import recompute_test
from vqaflow.runtime.errors import UserError

P = ["p_a", "p_b", "p_c", "p_d"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("world") / "results", seed=1)


@pytest.fixture
def results(scored, tmp_path):
    """A copy to damage."""
    return shutil.copytree(scored, tmp_path / "results")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A member of each kind, main with two seeds and a refit."""
    folder = tmp_path_factory.mktemp("mixed") / "results"
    folder.mkdir()
    return make_results(folder, members=several_members(folder), train_rows=240, unusable=2, seed=3)


def edit(path, change):
    change(pd.read_parquet(path)).to_parquet(path, index=False)


def read(results, split):
    return pd.read_parquet(results / "ensemble" / f"{split}.parquet")


def pool_alone(results, **settings):
    """Run ensemble_probabilities on members that are there already."""
    at = ResultsFolder(results)
    ensemble_probabilities(
        members=[at.member(name).folder for name in at.members()],
        train=at.table("train"),
        test=at.table("test"),
        folds=at.folds,
        ensemble=ENSEMBLE | settings,
        oof_out=at.probabilities("oof"),
        test_out=at.probabilities("test"),
        recipe_out=at.recipe,
    )


def views_of(results, name, split):
    return pd.read_parquet(ResultsFolder(results).member(name).views(split))


def p_of(frame, view):
    return np.exp(frame[[f"{view}_{letter}" for letter in "abcd"]].to_numpy())


def test_every_row_gets_probabilities_that_sum_to_1(mixed):
    ensemble(mixed)
    for split, table in (("oof", "train"), ("test", "test")):
        made = read(mixed, split)
        assert list(made["id"]) == list(pd.read_parquet(mixed / "tables" / f"{table}.parquet")["id"])
        assert (made[P].dtypes == "float64").all()
        np.testing.assert_allclose(made[P].sum(axis=1), 1, atol=1e-12)
    assert list(read(mixed, "test")) == ["id", *P]
    assert list(read(mixed, "oof")) == ["id", *P, "fold"]


def test_noise_keeps_the_default_and_the_report_says_so(results):
    recipe = ensemble(results)
    assert recipe["chosen"] == recipe["default"] == "mean"
    assert [c["name"] for c in recipe["candidates"]] == [
        "mean",
        "log_mean",
        "mean without main/hflip",
        "weighted",
        "stacking",
        "vote",
    ]
    for candidate in recipe["candidates"]:
        low, high = candidate["wilson"]
        assert low <= candidate["accuracy"] <= high
        assert (candidate["against_default"] is None) == (candidate["name"] == "mean")
        if candidate["against_default"]:
            assert candidate["against_default"]["p_right"] > 0.05


def test_answers_without_signal_never_look_better_than_chance(tmp_path):
    """The reported accuracy is the nested one: choosing among many recipes on noise gains nothing."""
    results = make_results(tmp_path / "results", train_rows=800, strength={"original": 0.0, "hflip": 0.0})
    recipe = ensemble(results)
    assert recipe["chosen"] == recipe["default"]
    low, high = recipe["nested"]["wilson"]
    assert low < 0.25 < high


@pytest.fixture(scope="module")
def misled(tmp_path_factory):
    """Mirrored views answer wrongly."""
    folder = tmp_path_factory.mktemp("misled") / "results"
    make_results(folder, train_rows=600, strength={"original": 2.0, "hflip": -3.0})
    return folder, ensemble(folder)


def test_a_view_that_misleads_is_left_out_or_outvoted(misled):
    _, recipe = misled
    assert recipe["chosen"] != recipe["default"]
    accuracy = {c["name"]: c["accuracy"] for c in recipe["candidates"]}
    assert recipe["nested"]["accuracy"] > accuracy["mean"] + 0.03
    assert recipe["nested"]["against_default"]["bootstrap"][0] > 0
    dropped = next(c for c in recipe["candidates"] if c["name"] == "mean without main/hflip")
    assert dropped["against_default"]["p_right"] <= 0.05


def test_the_oof_file_has_the_nested_accuracy(misled):
    """What evaluate_oof measures on the file is the number that was not optimised."""
    results, recipe = misled
    answers = pd.read_parquet(results / "tables" / "train.parquet")["answer"]
    predicted = np.array(list("abcd"))[read(results, "oof")[P].to_numpy().argmax(1)]
    assert (predicted == answers).mean() == recipe["nested"]["accuracy"]


def test_a_poor_member_does_not_cost_what_the_good_one_gives(tmp_path):
    """The pool is not below its best member beyond noise, and the report shows both."""
    folder = tmp_path / "results"
    folder.mkdir()
    poor = {f"poor{i}": member(f"poor{i}", strength={"original": 0.2}) for i in range(4)}
    make_results(folder, members={"good": member("good", strength={"original": 5.0}), **poor}, train_rows=400)
    recipe = ensemble(folder)
    against = recipe["nested"]["against_best_member"]
    assert against["member"] == "good" and against["bootstrap"][1] >= 0
    accuracy = {c["name"]: c["accuracy"] for c in recipe["candidates"]}
    assert recipe["nested"]["accuracy"] >= accuracy["only good"] - 0.01 > accuracy["mean"]
    weights = {entry["name"]: entry["weight"] for entry in recipe["members"]}
    assert weights["good"] > 0.5 and sum(weights.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("default", [0.25, 0.25, 0.25, 0.25]),
        ("only other", [0, 0, 1, 0]),
        ("mean without friend", [0, 1 / 3, 1 / 3, 1 / 3]),
        ("log_mean without main/hflip", [0.25, 0.25, 0.25, 0.25]),
    ],
)
def test_a_recipe_can_be_named_and_says_the_members_weights(mixed, name, weights):
    recipe = ensemble(mixed, recipe=name)
    assert recipe["chosen"] == {"default": "mean"}.get(name, name)
    assert [entry["name"] for entry in recipe["members"]] == ["friend", "main", "other", "untuned"]
    assert [entry["weight"] for entry in recipe["members"]] == pytest.approx(weights)
    main = recipe["members"][1]
    assert sum(main["views"].values()) == pytest.approx(main["weight"])
    if "hflip" in name:
        assert main["views"] == pytest.approx({"original": 0.25, "hflip": 0.0})
    assert "weight of its folds" in main["notes"][0] and main["refit"]


def slope(block):
    """By how much more a choice's own log-probability counts for it than for the others."""
    own = [block[c, c] for c in range(4)]
    others = [block[c, d] for c in range(4) for d in range(4) if c != d]
    return np.mean(own) - np.mean(others)


@pytest.mark.parametrize("name", ["weighted", "stacking", "vote"])
def test_what_a_pool_learns_shows_in_the_members_weights(mixed, name):
    recipe = ensemble(mixed, recipe=name)
    weights = {entry["name"]: entry["weight"] for entry in recipe["members"]}
    assert sum(weights.values()) == pytest.approx(1)
    assert max(weights, key=weights.get) == "main" and min(weights, key=weights.get) == "untuned"
    learned = recipe["learned"]  # friend, main's original and hflip, other, untuned
    if name == "weighted":
        expected = [learned[0], learned[1] + learned[2], learned[3], learned[4]]
    elif name == "vote":
        expected = [learned[0], (learned[1] + learned[2]) / 2, learned[3], learned[4]]
    else:
        expected = [slope(np.array(learned["matrix"][4 * unit : 4 * unit + 4])) for unit in range(4)]
    assert list(weights.values()) == pytest.approx(np.array(expected) / sum(expected))


def test_default_is_what_the_config_says(results):
    recipe = ensemble(results, recipe="default", pooling="weighted")
    assert recipe["chosen"] == recipe["default"] == "weighted"
    assert sum(recipe["learned"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "staking"}, r"ensemble\.recipe: 'staking' is unknown; did you mean 'stacking'"),
        ({"recipe": "only mian"}, r"ensemble\.recipe: 'only mian' names no member; did you mean 'main'"),
        ({"pooling": "wieghted"}, r"ensemble\.pooling.*weighted"),
        ({"calibration": "temprature"}, r"ensemble\.calibration.*temperature"),
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


def test_unusable_test_rows_are_answered_and_counted(tmp_path):
    """A quarantined row stays in the submission: equal probabilities would answer it with the letter a."""
    results = make_results(tmp_path / "results", unusable=2, seed=3)
    recipe = ensemble(results)
    assert (read(results, "test")[P].to_numpy()[:2] != 0.25).all()
    assert recipe["test"]["unusable_ids"] == ["test_0000", "test_0001"]
    assert (recipe["test"]["rows"], recipe["test"]["unusable"]) == (40, 2)
    assert "on 38 such rows" in recipe["expected"]["of"]


def test_without_a_usable_test_row_the_run_still_ends(tmp_path):
    """All answers are then by question and choices alone, and no score is promised."""
    results = make_results(tmp_path / "results", unusable=40)
    recipe = ensemble(results)
    assert (read(results, "test")[P].to_numpy() != 0.25).all() and "on 0 such rows" in recipe["expected"]["of"]


# --- test rows ---


def powered(p, temperature):
    scaled = [x ** (1 / temperature) for x in p]
    return [x / sum(scaled) for x in scaled]


@pytest.mark.parametrize("pooling", ["mean", "log_mean"])
def test_test_rows_are_what_plain_loops_compute(mixed, pooling):
    """Folds, the untuned member and the file in each of them, the refit half and half, and both temperatures."""
    recipe = ensemble(mixed, recipe="default", pooling=pooling)
    frames = {name: views_of(mixed, name, "test") for name in ("friend", "main", "other", "untuned")}
    log = math.log if pooling == "log_mean" else lambda x: x
    exp = math.exp if pooling == "log_mean" else lambda x: x

    def mean(rows):
        total = [exp(sum(log(row[c]) for row in rows) / len(rows)) for c in range(4)]
        return [x / sum(total) for x in total]

    def member_rows(name, part, row_id):
        frame = frames[name]
        line = frame[(frame["part"] == part) & (frame["id"] == row_id)].iloc[0]
        views = sorted({column.rsplit("_", 1)[0] for column in frame if column not in ("id", "part")})
        return [
            [math.exp(line[f"{view}_{letter}"]) for letter in "abcd"]
            for view in views
            if not pd.isna(line[f"{view}_a"])
        ]

    def unnormalised(rows):
        return [exp(sum(log(row[c]) for row in rows) / len(rows)) for c in range(4)]

    def fold(parts, row_id):
        return mean([unnormalised(member_rows(name, part, row_id)) for name, part in parts.items()])

    made = read(mixed, "test").set_index("id")
    for row_id in list(frames["main"]["id"].unique())[:12]:
        alone = {"friend": "file", "untuned": "base"}
        folds = [fold(alone | {"main": f"{k}", "other": f"{k}"}, row_id) for k in range(3)]
        refit = [fold(alone | {"main": "all", "other": f"{k}"}, row_id) for k in range(3)]
        average = mean([mean(folds), mean(refit)])
        calibrated = powered(average, recipe["calibration"]["learned"]["temperature"])
        expected = powered(calibrated, recipe["test"]["temperature"])
        np.testing.assert_allclose(made.loc[row_id, P].astype(float), expected, atol=1e-12)


def test_a_refit_counts_as_much_as_its_folds_together(tmp_path):
    """With one adapter among four it would hardly count, though it has seen the most rows."""
    results = make_results(tmp_path / "results", members={"main": member("main", refit=True)})
    recipe = ensemble(results, recipe="only main", calibration="none")
    frame = views_of(results, "main", "test")
    whole = frame[~frame["id"].isin(frame["id"][frame["hflip_a"].isna()])]
    by_part = {
        part: (p_of(rows, "original") + p_of(rows, "hflip")) / 2 for part, rows in whole.groupby("part", sort=True)
    }
    average = (sum(by_part[f"{k}"] for k in range(3)) / 3 + by_part["all"]) / 2
    expected = [powered(p, recipe["test"]["temperature"]) for p in average]
    made = read(results, "test").set_index("id").loc[whole["id"].unique(), P]
    np.testing.assert_allclose(made, expected, atol=1e-12)


def test_an_absent_view_leaves_the_rows_other_views(results):
    """Rows that must not be flipped are answered by the original view alone."""
    recipe = ensemble(results, recipe="default", calibration="none")
    table, made = pd.read_parquet(results / "tables" / "test.parquet"), read(results, "test").set_index("id")
    unsafe = list(table["id"][table["flip_unsafe"]])
    frame = views_of(results, "main", "test")
    frame = frame[frame["id"].isin(unsafe)]
    mean = np.mean([p_of(frame[frame["part"] == f"{k}"], "original") for k in range(3)], axis=0)
    expected = [powered(p, recipe["test"]["temperature"]) for p in mean]
    np.testing.assert_allclose(made.loc[unsafe, P], expected, atol=1e-12)


def test_test_rows_are_calibrated_too(results):
    """Else the OOF file would mean what it says, and the submission's probabilities would not."""
    ensemble(results, calibration="none")
    raw = read(results, "test")[P].to_numpy()
    recipe = ensemble(results, calibration="temperature")
    assert abs(recipe["calibration"]["learned"]["temperature"] - 1) > 0.1
    assert np.abs(raw - read(results, "test")[P].to_numpy()).max() > 0.05


@pytest.mark.parametrize("kind", ["untuned", "file"])
def test_one_part_alone_is_not_sharpened(tmp_path, kind):
    """An untuned base has one answer for a row, of OOF and test alike: its calibration holds for both."""
    folder = tmp_path / "results"
    folder.mkdir()
    one = foreign_member("friend", folder) if kind == "file" else member("friend", "untuned", {"original": 1.5})
    make_results(folder, members={"friend": one})
    recipe = ensemble(folder)
    assert recipe["test"]["temperature"] is None and recipe["test"]["gain_of_averaging"] is None
    assert recipe["expected"]["accuracy"] == recipe["nested"]["accuracy"]
    view = "file" if kind == "file" else "original"
    expected = [
        powered(p, recipe["calibration"]["learned"]["temperature"])
        for p in p_of(views_of(folder, "friend", "test"), view)
    ]
    np.testing.assert_allclose(read(folder, "test")[P].to_numpy(), expected, atol=1e-12)


def test_a_member_that_the_recipe_leaves_out_does_not_sharpen(mixed):
    recipe = ensemble(mixed, recipe="only untuned")
    assert recipe["test"]["temperature"] is None


def test_the_report_says_what_to_expect_on_test_rows(tmp_path):
    """The numbers of a submission must follow from each other, so far as the temperature is not at its limit."""
    mixed = tmp_path / "results"
    mixed.mkdir()
    members = {"main": member("main", strength={"original": 1.0, "hflip": 0.8})}
    members["untuned"] = several_members(mixed)["untuned"]
    make_results(mixed, members=members, train_rows=240, test_rows=400, unusable=2, seed=3)
    recipe = ensemble(mixed, recipe="mean")
    assert 1 / 3 < recipe["test"]["temperature"] < 1
    test, expected, nested = recipe["test"], recipe["expected"], recipe["nested"]
    confidence = test["confidence"]
    assert confidence["test"] > confidence["test_average"]
    assert confidence["test"] == pytest.approx(read(mixed, "test")[P].to_numpy().max(1).mean())
    assert confidence["oof"] == pytest.approx(read(mixed, "oof")[P].to_numpy().max(1).mean())
    gain = test["gain_of_averaging"]
    assert gain["gain"] == pytest.approx(confidence["test"] - confidence["test_single_folds"], abs=1e-9)
    assert expected["accuracy"] == pytest.approx(min(1, nested["accuracy"] + gain["gain"]))
    (low, high), (lower, higher) = expected["interval"], expected["score_interval"]
    assert 0 <= lower < low <= expected["accuracy"] <= high <= higher <= 1
    of_oof = nested["accuracy"] - min(nested["wilson"][0], nested["bootstrap"][0])
    of_gain, center = 1.959964 * gain["standard_error"], expected["accuracy"]
    # The prediction interval: the mean of 398 further rows scatters by sqrt(240 / 398) of what OOF accuracy does.
    of_score = of_oof * math.sqrt(1 + 240 / 398)
    assert low == pytest.approx(center - math.hypot(of_oof, of_gain), abs=1e-6)
    assert lower == pytest.approx(center - math.hypot(of_score, of_gain), abs=1e-6)
    assert "one adapter of each tuned member per row" in nested["of"]


@pytest.mark.parametrize("name", ["auto", "weighted", "stacking without friend", "only main", "vote"])
def test_the_report_is_enough_to_compute_the_test_rows_again(mixed, name):
    """verify does it; a number that is not in recipe.json could not be checked."""
    ensemble(mixed, recipe=name)
    recipe = json.loads((mixed / "ensemble" / "recipe.json").read_text(encoding="utf-8"))
    at = ResultsFolder(mixed)
    folders = [at.member(entry["name"]).folder for entry in recipe["members"]]
    table = read_with_letters(at.table("test"), ["id"])
    again = recompute_test(recipe, folders, table)
    np.testing.assert_allclose(again.probabilities_NC, read(mixed, "test")[P].to_numpy(), atol=1e-12)
    assert again.ids == table["id"].to_list() and len(again.ids) == 40
    assert list(again.pooled.singles) == ["0", "1", "2"]


# --- files ---


def test_equal_scores_give_equal_bytes(results):
    ensemble(results)
    first = folder_digest(results / "ensemble")
    ensemble(results)
    assert folder_digest(results / "ensemble") == first


def test_the_sequence_of_rows_in_a_file_does_not_matter(results):
    ensemble(results)
    before = read(results, "test")
    for path in results.glob("scores/*/*/*/*.parquet"):
        edit(path, lambda frame: frame.sample(frac=1, random_state=1))
    ensemble(results)
    pd.testing.assert_frame_equal(read(results, "test"), before)


@pytest.mark.parametrize(("place", "rule"), [("tables/train", "validate_tables"), ("tables/test", "validate_tables")])
def test_a_cut_off_table_is_named(results, place, rule):
    ensemble(results)
    path = results / f"{place}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match=rf"{place}\.parquet: is damaged .*run the rule {rule} again"):
        pool_alone(results)


def test_folds_of_another_table_are_refused(results):
    edit(results / "folds.parquet", lambda frame: frame.iloc[1:])
    with pytest.raises(UserError, match="'train_0000' are only in .*make_folds"):
        ensemble(results)


def test_a_named_recipe_that_leaves_rows_without_an_answer_is_refused(results):
    """Mirrored views lack the rows that must not be mirrored; nothing may be made up for these."""
    with pytest.raises(UserError, match=r"rows .*no probability in any view that 'mean without main/original' pools"):
        ensemble(results, recipe="mean without main/original")
    assert not (results / "ensemble" / "test.parquet").exists()


def test_a_test_row_that_the_named_recipe_cannot_answer_is_named(results):
    """A file may have all training rows and lack a test row: an answer must not be made up."""
    pool_members(results)
    letters = [f"original_{letter}" for letter in "abcd"]
    path = ResultsFolder(results).member("main").views("test")
    edit(path, lambda frame: frame.assign(**{name: frame[name].where(frame["id"] != "test_0007") for name in letters}))
    pool_alone(results)  # the mirrored view answers it
    recipe = json.loads(ResultsFolder(results).recipe.read_text(encoding="utf-8"))
    offered = [candidate["name"] for candidate in recipe["candidates"]]
    assert offered == ["mean", "log_mean", "weighted", "stacking", "vote"], "what cannot answer all rows is not offered"
    with pytest.raises(
        UserError, match="rows 'test_0007' have no probability in any view that 'mean without main/hflip'"
    ):
        pool_alone(results, recipe="mean without main/hflip")


def test_a_view_may_have_no_row_in_a_fold(results):
    """A view for small margins can be empty where the model is sure everywhere."""
    edit(results / "scores/main/oof/fold0/hflip.parquet", lambda frame: frame.iloc[:0])
    edit(results / "scores/main/test/fold2/hflip.parquet", lambda frame: frame.iloc[:0])
    for recipe in ("auto", "stacking", "weighted", "vote"):
        ensemble(results, recipe=recipe)
        np.testing.assert_allclose(read(results, "test")[P].sum(axis=1), 1, atol=1e-12)
