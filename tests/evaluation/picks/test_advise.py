"""Advice on final selections: noise is no gain, a twin is no hedge, and the public board makes no pick."""

import re

import numpy as np
import pytest
from scipy.stats import binom

from vqaflow.evaluation.picks.advise import advise, beliefs_of
from vqaflow.evaluation.picks.beliefs import Beliefs, expected_maximum, from_oof, updated
from vqaflow.evaluation.picks.candidates import Candidate, Candidates
from vqaflow.evaluation.picks.intervals import bootstrap_means, interval_of
from vqaflow.evaluation.picks.noise import Board, board_of
from vqaflow.evaluation.picks.wording import described
from vqaflow.reporting.sign_flips import sign_flip_p_values
from vqaflow.reporting.statistics import paired_summary
from vqaflow.runtime.errors import UserError

CHOICES = 4


class Population:
    """Systems with known accuracies: rows are hard for all, for one family, or for one system alone.

    `wrong` gives for each system the shares of rows that it fails: with all others, with its family, alone.
    """

    def __init__(self, families, family_share=0.08, common=0.05, alone=0.02, gains=None):
        self.families, self.family_share, self.common = families, family_share, common
        self.alone = alone if isinstance(alone, list) else [alone] * len(families)
        self.gains = gains or [0.0] * len(families)

    def draw(self, rows, rng):
        """Right answers (N) and those of each system (K, N); a wrong system answers one of the other choices."""
        answers_N = rng.integers(0, CHOICES, rows)
        common_N = rng.random(rows) < self.common
        by_family = {family: rng.random(rows) < self.family_share for family in sorted(set(self.families))}
        other = {family: rng.integers(1, CHOICES, rows) for family in sorted(set(self.families))}
        given = []
        for family, gain, alone in zip(self.families, self.gains, self.alone, strict=True):
            wrong_N = common_N | by_family[family] | (rng.random(rows) < alone)
            wrong_N &= rng.random(rows) >= gain
            given.append(np.where(wrong_N, (answers_N + other[family]) % CHOICES, answers_N))
        return answers_N, np.array(given)


def field(population, rng, oof_rows=600, test_rows=600, files=0):
    """Candidates with their answers, and the true answers of the test rows; the last `files` have no OOF answers."""
    answers_N, oof_KN = population.draw(oof_rows, rng)
    truth_N, test_KN = population.draw(test_rows, rng)
    known = len(oof_KN) - files
    found = [
        Candidate(f"system {k}" if k < known else f"{k}.csv", test_KN[k], oof_KN[k] if k < known else None, 0.5)
        for k in range(len(oof_KN))
    ]
    current_NC = 0.9 * np.eye(CHOICES)[test_KN[0]] + 0.025
    ids = [f"test_{i}" for i in range(test_rows)]
    return Candidates(found, answers_N, np.arange(oof_rows) // 3, ids, current_NC, []), truth_N


def private_scores(found, truth_N, rng):
    """Each candidate's public and private score in one draw of public rows."""
    right_KN = np.array([candidate.test_N for candidate in found.all]) == truth_N
    order_N = rng.permutation(len(truth_N))
    half = len(truth_N) // 2
    return right_KN[:, order_N[:half]].mean(1), right_KN[:, order_N[half:]].mean(1)


def test_the_second_pick_errs_elsewhere_and_not_with_the_first():
    """Two near-twins as final selections waste one of them: here 0 to 3 are twins and 4 is of another family."""
    chosen = []
    for seed in range(12):
        found, _ = field(Population([0, 0, 0, 0, 1], alone=0.005), np.random.default_rng(seed))
        chosen.append({pick.place for pick in advise(found).picks})
    assert sum(4 in places for places in chosen) >= 11


def test_the_recommended_pair_is_at_least_as_good_as_best_and_second_best():
    """By the private scores of many made-up competitions, not by the formula that chose the pair."""
    rng, gained, best_alone, stated = np.random.default_rng(5), [], [], []
    for _ in range(120):
        found, truth_N = field(Population([0, 0, 0, 1, 2], gains=[0.1, 0.08, 0.06, 0.04, 0.0]), rng, 500, 500)
        advice = advise(found)
        first, second = (pick.place for pick in advice.picks)
        accuracy = [-np.mean(one.oof_N == found.answers_N) for one in found.all]
        order = np.argsort(accuracy, kind="stable")
        _, private_K = private_scores(found, truth_N, rng)
        gained.append(max(private_K[first], private_K[second]) - max(private_K[order[0]], private_K[order[1]]))
        best_alone.append(max(private_K[first], private_K[second]) - private_K[first])
        assert first == order[0]
        stated.append(advice.picks[1].expected_best - advice.picks[0].expected_best)
    assert np.mean(gained) > 0
    assert np.mean(best_alone) == pytest.approx(np.mean(stated), rel=0.25)


def test_a_twin_on_test_rows_is_no_hedge():
    """Averaging adapters makes candidates that differ on OOF rows answer alike: two equal files are one selection."""
    rng = np.random.default_rng(6)
    found, _ = field(Population([0, 1, 2]), rng)
    best = int(np.argmax([np.mean(one.oof_N == found.answers_N) for one in found.all]))
    twin, other = (place for place in range(3) if place != best)
    found.all[twin].test_N = found.all[best].test_N.copy()
    found.all[twin].test_N[0] = (found.all[twin].test_N[0] + 1) % CHOICES
    assert [pick.place for pick in advise(found).picks] == [best, other]


def test_equal_systems_are_called_noise():
    """With ten pairs, one in two such competitions would show a "significant" one without the correction."""
    rng, called = np.random.default_rng(7), 0
    for _ in range(40):
        found, _ = field(Population([0, 1, 2, 3, 4], alone=0.05), rng, 400, 100)
        advice = advise(found)
        real = [pair for pair in advice.pairs if pair.real]
        called += bool(real)
        if not real:
            assert "No difference is real: all 10 OOF differences are within noise." in list(described(advice))
    assert called <= binom.ppf(0.999, 40, 0.05)


def test_a_real_difference_is_called_real():
    found, _ = field(Population([0, 1], gains=[0.9, 0.0]), np.random.default_rng(8))
    advice = advise(found)
    assert advice.pairs[0].real and advice.picks[0].place == 0
    assert any(
        line.startswith("1 of 1 OOF differences are more than noise: system 0 above system 1")
        for line in described(advice)
    )


def test_intervals_are_those_of_paired_summary():
    """The same numbers as in metrics.json and in `vqaflow compare`."""
    found, _ = field(Population([0, 1, 1]), np.random.default_rng(9), 200)
    advice = advise(found)
    gains = [found.right_KN[pair.second].astype(float) - found.right_KN[pair.first] for pair in advice.pairs]
    corrected = sign_flip_p_values(gains, found.groups_N)
    for pair, p_value in zip(advice.pairs, corrected, strict=True):
        first_N, second_N = found.right_KN[pair.first], found.right_KN[pair.second]
        expected = paired_summary(first_N, second_N, found.groups_N)
        assert pair.gain == pytest.approx(expected["gain"]) and pair.interval == pytest.approx(expected["bootstrap"])
        assert pair.p_value == p_value >= expected["p_value"]
        assert (pair.only_first, pair.only_second) == (expected["only_first_right"], expected["only_second_right"])


def test_one_group_shows_no_interval_and_no_real_difference():
    found, _ = field(Population([0, 1], gains=[0.9, 0.0]), np.random.default_rng(8))
    found.groups_N[:] = 0
    advice = advise(found)
    assert bootstrap_means(found.right_KN, found.groups_N) is None
    assert advice.pairs[0].interval is None and not advice.pairs[0].real and len(list(described(advice))) > 5


# --- what is believed ---


def test_the_expected_maximum_is_that_of_draws_of_groups():
    """Against a bootstrap in two steps: draw the groups that show the truth, then private rows from these."""
    found, _ = field(Population([0, 1, 2]), np.random.default_rng(10), 900, 900)
    for candidate in found.all:  # test rows like OOF rows, so that nothing is scaled
        candidate.test_N = candidate.oof_N
    board, beliefs = Board(900, 450), beliefs_of(found)
    rng, best = np.random.default_rng(11), []
    right_KGM = found.right_KN.reshape(3, -1, 3)
    groups = right_KGM.shape[1]
    for _ in range(3000):
        truth = rng.integers(0, groups, groups)
        drawn = truth[rng.integers(0, groups, board.private // 3)]
        best.append(right_KGM[:, drawn].mean((1, 2))[:2].max())
    assert expected_maximum(beliefs, [0, 1], board.private) == pytest.approx(np.mean(best), abs=0.002)


def test_clark_and_draws_agree():
    """Two selections are computed by a formula, three by draws: the same of both."""
    rng = np.random.default_rng(12)
    root = rng.normal(size=(3, 3)) * 0.02
    beliefs = Beliefs(np.array([0.9, 0.89, 0.5]), root @ root.T, 0.1 * np.eye(3))
    assert expected_maximum(beliefs, [0, 1, 2], 500) == pytest.approx(expected_maximum(beliefs, [0, 1], 500), abs=5e-4)
    assert expected_maximum(beliefs, [0], 500) == 0.9


def test_rows_of_a_group_count_less_than_independent_rows():
    """Ten questions about one picture are not ten pictures."""
    rng = np.random.default_rng(13)
    right_KN = np.repeat(rng.random((2, 100)) < 0.8, 10, axis=1)
    _, truth_KK = from_oof(right_KN, np.repeat(np.arange(100), 10))
    _, alone_KK = from_oof(right_KN, np.arange(1000))
    assert truth_KK[0, 0] == pytest.approx(10 * alone_KK[0, 0], rel=0.05)


def test_a_public_score_moves_beliefs_as_bayes_says():
    """For two files: the weighted mean of both differences, each weighted by one over its variance."""
    truth_KK = np.diag([4e-4, 4e-4])
    beliefs = Beliefs(np.array([0.90, 0.89]), truth_KK, np.diag([0.08, 0.10]))
    after = updated(beliefs, {0: 0.92, 1: 0.95}, 500)
    prior, noise = 8e-4, 0.18 / 500
    expected = (-0.01 / prior + 0.03 / noise) / (1 / prior + 1 / noise)
    assert after.mean_K[1] - after.mean_K[0] == pytest.approx(expected, abs=2e-4)
    spread = after.truth_KK[0, 0] + after.truth_KK[1, 1] - 2 * after.truth_KK[0, 1]
    assert spread == pytest.approx(1 / (1 / prior + 1 / noise), rel=0.02)


def test_a_rounded_score_counts_less_than_an_exact_one():
    """0.941 and 0.942 on 6,000 rows may be one right answer apart or eleven: rounding is noise as well."""
    beliefs = Beliefs(np.array([0.90, 0.89]), np.diag([4e-4, 4e-4]), np.diag([2e-4, 2e-4]))
    step, prior, noise = 0.01, 8e-4, 4e-4 / 6000
    after = updated(beliefs, {0: 0.94, 1: 0.95}, 6000, step)
    noise += 2 * step**2 / 12  # each score lies anywhere within its step
    expected = (-0.01 / prior + 0.01 / noise) / (1 / prior + 1 / noise)
    assert after.mean_K[1] - after.mean_K[0] == pytest.approx(expected, abs=2e-5)
    spread = after.truth_KK[0, 0] + after.truth_KK[1, 1] - 2 * after.truth_KK[0, 1]
    assert spread == pytest.approx(1 / (1 / prior + 1 / noise), rel=1e-3)


def test_beliefs_after_public_scores_cover_the_truth():
    """A stated probability of 90 % that one file is the better one is right about nine times in ten."""
    rng, stated, better = np.random.default_rng(14), [], []
    for _ in range(300):
        gain = float(rng.uniform(-0.05, 0.05))  # of the second system, in each competition another
        population = Population([0, 1], alone=[0.06, 0.06 - gain])
        found, truth_N = field(population, rng, 300, 1000)
        public_K, _ = private_scores(found, truth_N, rng)
        stated.append(updated(beliefs_of(found), dict(enumerate(public_K)), 500).chance(1, 0))
        better.append(gain > 0)
    stated, better = np.array(stated), np.array(better)
    for low, high in ((0.0, 0.2), (0.8, 1.0)):
        there = (stated >= low) & (stated <= high)
        assert there.sum() > 60 and better[there].mean() == pytest.approx(stated[there].mean(), abs=0.06)


# --- public scores ---


def test_a_lone_public_score_changes_no_pick():
    """Test rows may be easier than training rows: that says nothing about which file is better."""
    found, _ = field(Population([0, 1, 2], gains=[0.2, 0.1, 0.0]), np.random.default_rng(15))
    without, lucky = advise(found), advise(found, public={2: 0.99})
    assert [p.place for p in lucky.picks] == [p.place for p in without.picks] and not lucky.public.changes
    assert "The public scores change no pick." in list(described(lucky))


def test_a_lead_within_noise_is_called_tuning():
    """The file that the public board prefers by three answers is not taken, and the advice says why."""
    found, _ = field(Population([0, 1], alone=0.05), np.random.default_rng(16), 600, 600)
    first = advise(found).picks[0].place
    other = 1 - first
    advice = advise(found, public={first: 0.850, other: 0.880}, tries=30)
    assert [pick.place for pick in advice.picks] == [first, other]
    lines = "\n".join(described(advice))
    assert "To pick it for its public score would be tuning to the public board." in lines
    assert advice.public.luck > 0 and "Of 30 submissions that are equally good" in lines
    change = advice.public.changes[0]
    assert change.tuning and not change.followed and "that would be tuning to the public board. Keep" in lines


def test_more_tries_need_a_clearer_lead():
    """The best of 200 submissions is ahead by luck: the lead that convinces after two tries does not after 200."""
    found, _ = field(Population([0, 1], alone=0.05), np.random.default_rng(16), 600, 600)
    first = advise(found).picks[0].place
    leads = [{first: 0.85, 1 - first: 0.85 + lead / 300} for lead in range(8, 64)]
    followed = {
        tries: [advise(found, public=public, tries=tries).picks[0].place != first for public in leads[::4]]
        for tries in (2, 200)
    }
    assert sum(followed[200]) < sum(followed[2]) and followed[200][-1] and not followed[2][0]


def test_a_lead_beyond_noise_is_followed():
    found, _ = field(Population([0, 1], alone=0.05), np.random.default_rng(16), 600, 600)
    first = advise(found).picks[0].place
    advice = advise(found, public={first: 0.80, 1 - first: 0.92})
    assert advice.picks[0].place == 1 - first and advice.public.changes[0].followed
    assert advice.oof_picks[0].place == first
    assert "more than noise, so the advice follows" in "\n".join(described(advice))


def test_tuning_to_the_public_board_does_not_pay():
    """Among equal files, the one with the best public score has no better private score: what the advice warns of."""
    rng, top_private, lucky, stated = np.random.default_rng(17), [], [], []
    for _ in range(80):
        found, truth_N = field(Population([0, 0, 0, 0, 0, 0], alone=0.06), rng, 400, 400)
        public_K, private_K = private_scores(found, truth_N, rng)
        top = int(public_K.argmax())
        top_private.append(private_K[top] - private_K.mean())
        lucky.append(public_K[top] - public_K.mean())
        stated.append(advise(found, public=dict(enumerate(public_K))).public.luck)
    assert np.mean(lucky) == pytest.approx(np.mean(stated), rel=0.25)
    assert abs(np.mean(top_private)) < np.mean(lucky) / 3


def test_impossible_public_scores_are_pointed_out():
    """A score typed behind the wrong file, or a wrong share, would change the advice."""
    found, _ = field(Population([0, 0], alone=0.005), np.random.default_rng(18))
    assert any(line.startswith("Check the public scores") for line in described(advise(found, public={0: 0.9, 1: 0.8})))


def test_impossible_public_scores_change_no_pick():
    """Twins 60 answers apart: a score of another file would carry the worse file into the final selection."""
    found, _ = field(Population([0, 0, 1], alone=0.005), np.random.default_rng(18))
    alone = advise(found)
    first = alone.picks[0].place
    twin = 1 - first if first < 2 else 0
    scores = {place: 0.80 for place in range(3)} | {twin: 0.99}
    advice = advise(found, public=scores)
    assert advice.picks == alone.picks == advice.oof_picks and not advice.public.changes
    assert [entry.expected for entry in advice.entries] == [entry.expected for entry in alone.entries]
    assert [entry.public for entry in advice.entries] == list(scores.values())
    lines = list(described(advice))
    assert "Until then no public score counts: the picks are those of the OOF answers alone." in lines
    assert not any(line.startswith(("Of 3 submissions", "The public scores change")) for line in lines)
    assert not any("right public answers ahead" in line for line in lines)


def test_an_impossible_score_of_a_file_without_oof_answers_tells_nothing_of_it():
    found, _ = field(Population([0, 1, 2]), np.random.default_rng(19), files=1)
    advice = advise(found, public={0: 0.2, 2: 0.93})
    assert 2 not in [pick.place for pick in advice.picks] and advice.entries[2].expected is None


@pytest.mark.parametrize(("step", "wrong"), [(0.0, True), (0.001, True), (0.1, False)])
def test_rounded_scores_may_be_a_step_apart(step, wrong):
    """On 300 public rows a step of 0.1 is 30 answers: two files of one board may show 0.8 and 0.9 and be right."""
    found, _ = field(Population([0, 0], alone=0.005), np.random.default_rng(18))
    assert advise(found).pairs[0].differing < 30
    assert bool(advise(found, public={0: 0.9, 1: 0.8}, step=step).public.impossible) == wrong


# --- files without OOF answers ---


def test_a_file_without_oof_answers_is_never_picked_unseen():
    """Nothing shows how good it is; the advice says what is known, D and a bound, and what is not."""
    found, _ = field(Population([0, 1, 2]), np.random.default_rng(19), files=1)
    advice = advise(found)
    assert 2 not in [pick.place for pick in advice.picks]
    pair = advice.pair(0, 2)
    assert pair.real is None and pair.decisive == 1 and pair.gain is None
    lines = "\n".join(described(advice))
    differing = int((found.all[0].test_N != found.all[2].test_N).sum())
    assert f"{differing} of 600 test answers differ from the system 0" in lines and "never recommended" in lines
    assert "≤ " in lines


def test_a_file_with_a_public_score_far_beyond_noise_is_picked():
    found, _ = field(Population([0, 1, 2]), np.random.default_rng(19), files=1)
    advice = advise(found, public={0: 0.80, 2: 0.93})
    assert advice.picks[0].place == 2 and advice.public.changes[0].followed
    assert "only its public score speaks for it" in "\n".join(described(advice))


# --- the options ---


@pytest.mark.parametrize(("count", "places"), [(1, 1), (2, 2), (3, 3), (9, 4)])
def test_as_many_picks_as_selections(count, places):
    found, _ = field(Population([0, 1, 2, 3]), np.random.default_rng(20), 200, 200)
    picks = advise(found, count=count).picks
    assert len({pick.place for pick in picks}) == len(picks) == places
    assert [pick.expected_best for pick in picks] == sorted(pick.expected_best for pick in picks)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.0001, -1, 2])
def test_a_share_that_leaves_nothing_is_refused(share):
    found, _ = field(Population([0, 1]), np.random.default_rng(20), 100, 100)
    with pytest.raises(UserError, match="it leaves no public or no private row of 100. Give a share from 0.0100 to"):
        advise(found, share)


@pytest.mark.parametrize("rows", [2, 3, 40, 99, 6000])
def test_the_shares_that_the_message_names_are_accepted(rows):
    """A cure that fails in turn leaves the user to guess."""
    with pytest.raises(UserError) as raised:
        board_of(0.4 / rows, rows)
    low, high = re.search(r"from (\S+) to (\S+)\.$", str(raised.value)).groups()
    for share in (low, high):
        assert 0 < board_of(float(share), rows).public < rows


def test_one_test_row_has_no_advice():
    found, _ = field(Population([0, 1]), np.random.default_rng(20), 100, 1)
    with pytest.raises(UserError, match="There is no advice for it: give results of 2 test rows or more"):
        advise(found)


def test_equal_input_gives_equal_advice():
    made = [advise(field(Population([0, 1, 2, 3]), np.random.default_rng(21))[0], count=3) for _ in range(2)]
    assert made[0] == made[1]


def test_bootstrap_means_are_accuracies():
    found, _ = field(Population([0, 1]), np.random.default_rng(22))
    means_KR = bootstrap_means(found.right_KN, found.groups_N)
    low, high = interval_of(means_KR[0])
    assert low < found.right_KN[0].mean() < high and high - low == pytest.approx(4 * means_KR[0].std(), rel=0.1)
