"""What one person scores against the others, against leaving each person out one after the other."""

import numpy as np
import pytest

from vqaflow.reporting.agreement import against_another, against_majority, counts_of, entropy, in_order, levels, ties

GIVEN = ["aaaaa", "aaaab", "aabbc", "aabbcd", "ab", "abcd", "ccc", "ddaab"]


def counts(given):
    return np.array([[answers.count(letter) for letter in "abcd"] for answers in given], float)


def left_out(answers, judge):
    """The mean over people of what `judge` says of one's answer and the others'."""
    return np.mean([judge(one, answers[:i] + answers[i + 1 :]) for i, one in enumerate(answers)])


def majority_credit(letter, others):
    numbers = {c: others.count(c) for c in "abcd"}
    best = [c for c in numbers if numbers[c] == max(numbers.values())]
    return (letter in best) / len(best)


def test_one_person_is_scored_against_each_other_person():
    """The ceiling would look lower or higher than what people reach, and a model better or worse than they are."""
    expected = [left_out(a, lambda one, others: others.count(one) / len(others)) for a in GIVEN]
    assert against_another(counts(GIVEN)) == pytest.approx(expected)
    assert expected[0] == 1 and expected[5] == 0


def test_one_person_is_scored_against_the_majority_of_the_others():
    """A person must not be compared with a majority that their own answer made."""
    expected = [left_out(a, majority_credit) for a in GIVEN]
    assert against_majority(counts(GIVEN)) == pytest.approx(expected)


@pytest.mark.parametrize("letter", range(4))
def test_a_model_is_scored_against_the_same_majorities(letter):
    """Against the majority of all people it would have more voters on its side than a person has."""
    expected = [left_out(a, lambda one, others: majority_credit("abcd"[letter], others)) for a in GIVEN]
    assert against_majority(counts(GIVEN), np.full(len(GIVEN), letter)) == pytest.approx(expected)


def test_the_ceiling_is_unbiased_for_people_of_known_agreement():
    """Five people who each give the right answer with 0.7 agree in pairs with the sum of the squared probabilities."""
    p_C = np.array([0.7, 0.1, 0.15, 0.05])
    counts_NC = np.random.default_rng(0).multinomial(5, p_C, 40_000).astype(float)
    assert against_another(counts_NC).mean() == pytest.approx((p_C**2).sum(), abs=0.005)
    assert ((counts_NC / 5) ** 2).sum(1).mean() > (p_C**2).sum() + 0.05, "the plain sum of squares is too high"


def test_levels_are_counts_of_the_most_frequent_answer():
    found = levels(counts(GIVEN)).tolist()
    assert found == ["5/5", "4/5", "2/5", "2/6", "1/2", "1/4", "3/3", "2/5"]
    assert in_order(set(found)) == ["5/5", "3/3", "4/5", "1/2", "2/5", "2/6", "1/4"]
    assert ties(counts(GIVEN)).tolist() == [False, False, True, True, True, True, False, True]


def test_counts_are_whole_though_shares_are_not():
    """0.6 · 5 is 3.0000000000000004: a level of 3 would not be found."""
    counts_NC = counts(GIVEN)
    people_N = counts_NC.sum(1)
    assert (counts_of(counts_NC / people_N[:, None], people_N) == counts_NC).all()


def test_no_probabilities_have_less_cross_entropy_than_the_shares():
    share_NC = counts(GIVEN) / counts(GIVEN).sum(1, keepdims=True)
    assert entropy(share_NC)[[0, 4, 5]] == pytest.approx([0, np.log(2), np.log(4)])
