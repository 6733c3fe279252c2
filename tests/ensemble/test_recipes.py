"""The choice of a recipe: nothing leaks, noise changes nothing, and a pool is not below its best member."""

import numpy as np
import pytest

from vqaflow.config.recipe_names import (
    Recipe,
    check_recipe_name,
    every_recipe,
    named_recipe,
)
from vqaflow.ensemble.calibration import best_temperature
from vqaflow.ensemble.noise import Scored, SignFlips
from vqaflow.ensemble.pooling import POOLS, learns
from vqaflow.ensemble.recipes import (
    CrossFit,
    Procedure,
    apply,
    choose,
    choose_scored,
    fit,
    kept_sources,
    nested,
    offered,
    parts_of,
)
from vqaflow.ensemble.sources import Oof, Source
from vqaflow.runtime.errors import UserError
from vqaflow.scoring.order_pooling import log_softmax

STACKED = Recipe("stacking")
VIEWS = {"main": ("original", "hflip", "fine"), "other": ("tiles", "hflip"), "friend": ("file",)}


def names(recipes):
    return [recipe.name for recipe in recipes]


def oof_of(logits_NSC, answers_N, members=None, groups_N=None):
    """Sources that are all views of one member, or one view each of `members`."""
    sources = [
        Source(members[i] if members else "main", "original" if members or not i else f"view{i}")
        for i in range(logits_NSC.shape[1])
    ]
    groups_N = np.arange(len(answers_N)) if groups_N is None else groups_N
    return Oof(tuple(sources), log_softmax(logits_NSC), answers_N, groups_N)


def members_oof(strengths, sharpness=None, rows=900, seed=0, twins=False):
    """One source per member: how well it knows the answer, and how sure it is beyond that."""
    rng = np.random.default_rng(seed)
    answers_N = rng.integers(0, 4, rows)
    own = 0.05 if twins else 0.7
    shared_NC = rng.normal(size=(rows, 4))
    logits_NSC = shared_NC[:, None] + own * rng.normal(size=(rows, len(strengths), 4))
    logits_NSC[np.arange(rows), :, answers_N] += strengths
    logits_NSC *= np.array(sharpness or [1.0] * len(strengths))[:, None]
    members = [f"m{i}" for i in range(len(strengths))]
    return oof_of(logits_NSC, answers_N, members), {name: ("original",) for name in members}


# --- names ---


def test_candidates_stand_from_simple_to_complex():
    assert names(every_recipe("mean", VIEWS)) == [
        "mean",
        "log_mean",
        "mean without main/hflip",
        "mean without main/fine",
        "mean without other/hflip",
        "mean without main",
        "mean without other",
        "mean without friend",
        "only main",
        "only other",
        "only friend",
        "weighted",
        "stacking",
        "vote",
    ]
    assert names(every_recipe("log_mean", {"main": ("original",)})) == [
        "log_mean",
        "mean",
        "weighted",
        "stacking",
        "vote",
    ]
    learned = names(every_recipe("weighted", {"a": ("x",), "b": ("x",)}))
    assert learned == ["weighted", "mean", "log_mean", "only a", "only b", "stacking", "vote"]


@pytest.mark.parametrize("pooling", ["mean", "stacking"])
def test_every_candidate_can_be_named_in_the_configuration(pooling):
    for recipe in every_recipe(pooling, VIEWS):
        assert named_recipe(recipe.name, pooling) == recipe
        check_recipe_name("x", recipe.name, VIEWS)
    assert named_recipe("weighted without main", "mean") == Recipe("weighted", "main")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("staking", "'staking' is unknown; did you mean 'stacking'"),
        ("mean wihtout main", "did you mean 'mean without main'"),
        ("meen without main", "did you mean 'mean without main'"),
        ("mean without mian", "names no member; did you mean 'main'"),
        ("only freind", "names no member; did you mean 'friend'"),
        ("mean without main/hfilp", "names no view of member 'main'; did you mean 'hflip'"),
        ("geometric+mean", "'geometric\\+mean' is unknown"),
        ("", "'' is unknown"),
    ],
)
def test_a_wrong_name_names_the_nearest(name, message):
    with pytest.raises(UserError, match=f"config ensemble.recipe: .*{message}"):
        check_recipe_name("config ensemble.recipe", name, VIEWS)


@pytest.mark.parametrize("name", ["mean without main", "mean without main/original"])
def test_a_recipe_that_keeps_nothing_is_refused(name):
    with pytest.raises(UserError, match="leaves nothing to pool"):
        check_recipe_name("x", name, {"main": ("original",)})


@pytest.mark.parametrize("name", ["only ", "mean without ", "mean without a/", "mean without", "onlymain"])
def test_half_a_name_is_no_name(name):
    assert named_recipe(name, "mean") is None


def test_recipes_keep_what_they_say():
    sources = [Source(member, view) for member, views in VIEWS.items() for view in views]
    kept = {recipe.name: kept_sources(recipe, sources) for recipe in every_recipe("mean", VIEWS)}
    assert kept["mean"] == kept["vote"] == [0, 1, 2, 3, 4, 5]
    assert kept["mean without main/hflip"] == [0, 2, 3, 4, 5]
    assert kept["mean without main"] == [3, 4, 5] and kept["only main"] == [0, 1, 2]


def test_a_candidate_must_be_able_to_answer_every_row():
    """A file that lacks rows may help the others, but cannot stand alone."""
    sources = [Source(member, view) for member, views in VIEWS.items() for view in views]
    every = every_recipe("mean", VIEWS)
    left = set(names(every)) - set(names(offered(every, sources, {0, 3})))
    assert left == {"only friend"}
    assert "mean without main" not in names(offered(every, sources, {0}))


# --- cross-fitting ---


def test_parts_keep_groups_whole_and_sizes_even():
    """A picture's rows on both sides would let a pool be judged on what it was fitted to."""
    groups = np.random.default_rng(0).integers(0, 50, 400)
    parts = parts_of(groups, 5, seed=1)
    assert sorted(np.concatenate(parts)) == list(range(400))
    assert all(not set(groups[a]) & set(groups[b]) for i, a in enumerate(parts) for b in parts[:i])
    assert max(map(len, parts)) - min(map(len, parts)) <= 5


@pytest.mark.parametrize("recipe", [STACKED, Recipe("weighted"), Recipe("vote"), Recipe("mean", "m1")])
@pytest.mark.parametrize("held", [None, 2])
def test_each_part_is_predicted_from_the_others(recipe, held):
    """Bit for bit what fitting on exactly the allowed rows gives."""
    oof, _ = members_oof([2.0, 1.0, 0.5], rows=200)
    cross = CrossFit(oof, seed=0)
    made_NC = cross.probabilities(recipe, held)
    kept = kept_sources(recipe, oof.sources)
    for part, rows in enumerate(cross.parts):
        others = np.setdiff1d(
            np.arange(200), np.concatenate([rows, *(cross.parts[h] for h in [held] if h is not None)])
        )
        logp_NSC = oof.logp_NSC[:, kept]
        params = POOLS[recipe.pooling].fit(logp_NSC[others], np.arange(len(kept)), oof.answers_N[others])
        expected_NC = POOLS[recipe.pooling].apply(logp_NSC[rows], np.arange(len(kept)), params)
        np.testing.assert_allclose(made_NC[rows], expected_NC, atol=1e-9, err_msg=f"{part}")


@pytest.mark.parametrize(
    "recipe", every_recipe("mean", {"m0": ("original",), "m1": ("original",), "m2": ("original",)})
)
def test_test_rows_get_the_pool_that_was_judged(recipe):
    """A plain pool is computed in two ways, for all candidates at once and for test rows; they must agree."""
    oof, _ = members_oof([2.0, 1.0, 0.5], rows=80)
    if not learns(recipe.pooling):
        made_NC = apply(recipe, oof.sources, oof.logp_NSC, None)
        np.testing.assert_array_equal(made_NC, CrossFit(oof, 0).probabilities(recipe, None))


def noise_in_groups():
    """400 rows that say nothing of their answers; those of a group are equal, so that one gives the others away."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 4)
    logp_NSC = np.log(rng.dirichlet(np.ones(4), (100, 8)))[groups]
    return oof_of(logp_NSC, rng.integers(0, 4, 100)[groups], groups_N=groups)


def test_a_pool_that_learns_is_judged_on_groups_that_it_has_not_seen():
    """Noise would be reported as 58 % right if pools learned from the rows they answer, 48 % if from their groups."""
    oof = noise_in_groups()
    cross = CrossFit(oof, 0)
    held_out = nested(Procedure((STACKED,), "none"), cross).calibrated_NC
    for probabilities_NC in (held_out, cross.probabilities(STACKED, None)):
        assert (probabilities_NC.argmax(1) == oof.answers_N).mean() < 0.35


def test_calibration_learns_how_sure_a_pool_is_of_new_rows():
    """On rows that the pool was fitted to, noise looks like knowledge, and the submission would be far too sure."""
    oof = noise_in_groups()
    fitted, _ = fit(Procedure((STACKED,), "temperature"), CrossFit(oof, 0))
    assert fitted.calibrate(fitted.pool(oof.sources, oof.logp_NSC)).max(1).mean() < 0.35


def test_the_held_out_part_changes_nothing_of_its_own_prediction():
    """Neither the choice nor the calibration of an outer round may see the part that it predicts."""
    oof, views = members_oof([2.5, 0.5, 0.5, 0.5], rows=300)
    procedure = Procedure(every_recipe("mean", views), "temperature")
    honest, held = CrossFit(oof, 0), 1
    rows = honest.parts[held]
    wrong_N = oof.answers_N.copy()
    wrong_N[rows] = (wrong_N[rows] + 1) % 4
    lied = CrossFit(Oof(oof.sources, oof.logp_NSC, wrong_N, oof.groups_N), 0)
    first, second = nested(procedure, honest), nested(procedure, lied)
    np.testing.assert_array_equal(first.calibrated_NC[rows], second.calibrated_NC[rows])
    assert not np.array_equal(first.calibrated_NC, second.calibrated_NC)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_very_few_groups_end_in_the_default(groups):
    """Nothing can be learned from other groups; the run must still end with probabilities."""
    oof, views = members_oof([2.0, 1.0, 0.5], rows=30)
    oof = Oof(oof.sources, oof.logp_NSC, oof.answers_N, np.arange(30) % groups)
    held_out = nested(Procedure(every_recipe("mean", views), "temperature"), CrossFit(oof, 0))
    assert np.isfinite(held_out.calibrated_NC).all()


# --- the choice ---


def chosen(oof, views, pooling="mean"):
    choice = choose(every_recipe(pooling, views), CrossFit(oof, 0))
    return choice, choice.scored[choice.recipe].right_N.mean()


@pytest.mark.parametrize(
    ("strengths", "sharpness", "twins"),
    [
        ([4.0, 0.3, 0.3, 0.3, 0.3], None, False),  # a good member and four poor ones
        ([3.0, 0.5], [1.0, 20.0], False),  # a poor one that is sure of itself
        ([3.0, 2.0, -1.0], [1.0, 1.0, 20.0], False),  # one that misleads
        ([2.0, 2.0, 2.0], None, True),  # twins
        ([2.0, 2.0, 2.0], None, False),  # equals that err apart
    ],
)
def test_the_pool_is_not_below_its_best_member_beyond_noise(strengths, sharpness, twins):
    """Adding a poor member must not cost what a good one gives."""
    oof, views = members_oof(strengths, sharpness, twins=twins)
    choice, _ = chosen(oof, views)
    alone = [choice.scored[r] for r in choice.scored if r.only is not None]
    best = max(alone, key=lambda scored: scored.right_N.sum())
    assert not SignFlips(oof.groups_N, 0).beats(best, choice.scored[choice.recipe])
    if sharpness or max(strengths) > 3.5:
        assert choice.recipe.name != "mean" and "more than noise" in choice.reason
    else:
        assert choice.recipe.name == "mean"


def test_a_poor_view_can_be_dropped_at_last():
    """It loses a few answers only, but makes the pool unsure in many rows: hits alone would never show it."""
    rng = np.random.default_rng(3)
    answers_N = rng.integers(0, 4, 400)
    shared_NC = 4.0 * np.eye(4)[answers_N] + rng.normal(size=(400, 4))
    logits_NSC = np.stack([shared_NC, shared_NC + 0.9 * rng.normal(size=(400, 4))], axis=1)
    oof = oof_of(logits_NSC, answers_N)
    views = {"main": ("original", "view1")}
    choice, _ = chosen(oof, views)
    dropped = Recipe("mean", "main", "view1")
    assert choice.recipe == dropped
    right_p, brier_p = choice.p_values[dropped]
    assert right_p > 0.05 >= brier_p, "the case shows nothing if hits suffice"


def scored_of(*rights, brier=None):
    return {
        recipe: Scored(right_N, np.zeros(len(right_N)) if brier is None else brier[i])
        for i, (recipe, right_N) in enumerate(zip(every_recipe("mean", VIEWS), rights, strict=False))
    }


def test_many_candidates_need_a_clearer_gain():
    """The best of many by chance would be taken for better."""
    base_N = np.arange(200) < 100
    better_N = (np.arange(200) >= 3) & (np.arange(200) < 114)
    rng = np.random.default_rng(0)
    others = [np.where(rng.random(200) < 0.08, ~base_N, base_N) & (np.arange(200) != i) for i in range(12)]
    two, many = scored_of(base_N, better_N), scored_of(base_N, better_N, *others)
    assert choose_scored(two, np.arange(200), 0).recipe == list(two)[1]
    assert choose_scored(many, np.arange(200), 0).recipe == list(many)[0]


def test_gains_in_a_few_groups_are_noise():
    """As rows they would be clear (17 to 0); they are one picture's."""
    base_N, groups_N = np.arange(200) < 100, np.arange(200)
    better_N = np.arange(200) < 117
    two = scored_of(base_N, better_N)
    assert choose_scored(two, groups_N, 0).recipe == list(two)[1]
    groups_N[100:117] = 100
    choice = choose_scored(two, groups_N, 0)
    assert choice.recipe == list(two)[0] and "within noise, so the default stays" in choice.reason


def test_the_groups_of_the_rows_reach_the_test():
    """The second member is right in 30 rows more; as rows that is clear, as one picture it is luck."""
    answers_N = np.zeros(300, int)
    right, wrong = np.array([4.0, 0, 0, 0]), np.array([0, 6.0, 0, 0])
    first_N = np.arange(300) >= 30
    logits_NSC = np.stack([np.where(first_N[:, None], right, wrong), np.tile(right, (300, 1))], axis=1)
    views = {"m0": ("original",), "m1": ("original",)}
    candidates = (Recipe("mean"), Recipe("mean", only="m1"))
    assert every_recipe("mean", views)[0] == candidates[0] and candidates[1] in every_recipe("mean", views)
    apart, together = np.arange(300), np.maximum(np.arange(300), 29)
    for groups_N, expected in ((apart, candidates[1]), (together, candidates[0])):
        cross = CrossFit(oof_of(logits_NSC, answers_N, ["m0", "m1"], groups_N), 0)
        assert choose(candidates, cross).recipe == expected


def test_of_several_better_ones_the_simplest_is_taken():
    base_N = np.arange(300) < 150
    good_N, best_N = np.arange(300) < 200, np.arange(300) < 202
    three = scored_of(base_N, good_N, best_N)
    assert choose_scored(three, np.arange(300), 0).recipe == list(three)[1]
    much_N = np.arange(300) < 240
    three = scored_of(base_N, good_N, much_N)
    assert choose_scored(three, np.arange(300), 0).recipe == list(three)[2]


def test_a_less_accurate_candidate_is_never_taken():
    """However good its probabilities look: the score counts answers."""
    base_N, worse_N = np.arange(300) < 150, np.arange(300) < 149
    two = scored_of(base_N, worse_N, brier=[np.full(300, 0.5), np.full(300, 0.1)])
    assert choose_scored(two, np.arange(300), 0).recipe == list(two)[0]


def test_a_pool_that_is_only_surer_in_general_is_no_better_and_no_worse():
    """Calibration mends it; the Brier score is that after a temperature."""
    oof, _ = members_oof([2.0], rows=300)
    twice_NSC = np.concatenate([oof.logp_NSC, log_softmax(7 * oof.logp_NSC)], axis=1)
    twins = Oof((Source("m0", "original"), Source("m1", "original")), twice_NSC, oof.answers_N, oof.groups_N)
    recipes = (Recipe("mean", only="m0"), Recipe("mean", only="m1"))
    first, second = CrossFit(twins, 0).scored(recipes, None, np.arange(300)).values()
    np.testing.assert_allclose(first.loss_N, second.loss_N, atol=1e-6)
    np.testing.assert_array_equal(first.right_N, second.right_N)
    logp_NC = oof.logp_NSC[:, 0]
    best = best_temperature(logp_NC, logp_NC[np.arange(300), oof.answers_N])
    p_NC = np.exp(log_softmax(logp_NC / best))
    np.testing.assert_allclose(first.loss_N, ((p_NC - np.eye(4)[oof.answers_N]) ** 2).sum(1), atol=1e-9)


def equals(rows, systems, seed):
    """Systems that are equally good: what all share, and a noise of each one's own. Three rows are a group."""
    rng = np.random.default_rng([seed, rows, systems])
    answers_N, groups_N = rng.integers(0, 4, rows), np.arange(rows) // 3
    shared_NC = 2.2 * np.eye(4)[answers_N] + rng.normal(size=(rows // 3, 4)).repeat(3, axis=0)
    logits_NSC = shared_NC[:, None] + 0.8 * rng.normal(size=(rows, systems, 4))
    members = [f"m{i}" for i in range(systems)]
    return oof_of(logits_NSC, answers_N, members, groups_N), tuple(Recipe("mean", only=name) for name in members)


@pytest.mark.parametrize(("rows", "candidates"), [(120, 20), (600, 5)])
def test_among_equals_the_default_is_given_up_in_one_of_twenty_runs(rows, candidates):
    """The promise `a gain within noise keeps the simple one`. 200 runs: 0.05 ± 0.03."""
    wrong = 0
    for seed in range(200):
        oof, recipes = equals(rows, candidates + 1, seed)
        wrong += choose(recipes, CrossFit(oof, seed)).recipe != recipes[0]
    assert wrong <= 20


def test_the_procedure_alone_rarely_leaves_the_default():
    """All candidates of five equal members, end to end: 40 runs, of which one in twenty may choose another pool."""
    wrong = 0
    for seed in range(40):
        oof, views = members_oof([2.0] * 5, rows=250, seed=seed)
        wrong += chosen(oof, views)[0].recipe.name != "mean"
    assert wrong <= 6
