"""Ids that Excel, a Mac or a hand has changed: the eye reads over what a program stumbles on."""

import unicodedata

import pytest

from competition import Competition
from vqaflow.data.near_ids import NearIds, near_form

KOREAN = "시험_1"
PAIRS = [
    ("0001", "1", "leading zeros"),
    ("100", "100.0", "how the number is written"),
    ("100000", "1e5", "how the number is written"),
    ("100000", "1E+05", "how the number is written"),
    ("1234", "1,234", "how the number is written"),
    ("12345", "12 345", "spaces or invisible characters"),
    ("12345", "12\u202f345", "spaces or invisible characters"),
    ("1234567", "1'234'567", "how the number is written"),
    ("test_0007", "test_7", "leading zeros"),
    ("r2", "r2 ", "spaces around it"),
    ("r2", "\u3000r2", "spaces around it"),
    ("r2", "r2\u200b", "spaces or invisible characters"),
    ("r2", "\ufeffr2", "spaces or invisible characters"),
    (KOREAN, unicodedata.normalize("NFD", KOREAN), "Unicode form (NFC and NFD)"),
    ("Test_A", "test_a", "upper and lower case"),
    ("img_3.jpg", "img_3", "its extension"),
    ("img_3.jpg", "img_3.png", "its extension"),
    ("a-1", "a\u20131", "full-width letters or dashes"),
    ("ａ１", "a1", "full-width letters or dashes"),
    ("test_0047", "'test_0047", "signs around it"),
    ("test_0047", '"test_0047"', "signs around it"),
    ("test_0047", "images/test_0047", "its folder"),
    ("test_0047", "test-0047", "spaces, hyphens or underscores"),
    ("123456789012", "1.23457E+11", "digits that a spreadsheet has rounded"),
    ("1234567890123456789", "1234567890123450000", "digits that a spreadsheet has rounded"),
    ("1-3", "3-Jan", "how a spreadsheet writes a day"),
    ("1-3", "01월 03일", "how a spreadsheet writes a day"),
    ("test_0047", "47", "what stands around its number"),
]


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path)


@pytest.mark.parametrize(("one", "other", "words"), PAIRS)
def test_near_ids_are_found_and_their_difference_is_named(one, other, words):
    assert NearIds(["x", one, "y"]).near(other) == (one, words)
    assert NearIds([other]).near(one) == (other, words)
    assert NearIds([one]).near(one) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        ("1", "10"),
        ("12 34", "1234"),
        ("1 234,567", "1234567"),
        ("1.5", "15"),
        ("a1", "b1"),
        ("1e5", "15"),
        ("-1", "1"),
    ],
)
def test_different_ids_are_not_near(one, other):
    assert near_form(one) != near_form(other)


def test_a_loose_likeness_that_several_ids_have_names_none():
    """A message that names one of a thousand ids at random sends the user astray."""
    assert NearIds(["a_3", "b_3"]).near("3") is None
    assert NearIds(["123456789012", "123456789013"]).near("1.23457E+11") is None


@pytest.mark.parametrize(("one", "other", "words"), PAIRS)
def test_an_id_that_a_spreadsheet_changed_is_named_in_both_files(data, one, other, words):
    """`no row with this id` alone sends people to look for a row that they see."""
    data.test[2]["id"] = one
    data.sample = [{"id": row["id"], "answer": ""} for row in data.test]
    data.sample[2]["id"] = other
    message = data.fail()
    assert message.count(f"which differs in {words}") == 2 and "take the competition's original file" in message
    assert {kind for kind, _, _ in data.kinds()} == {"id_not_in_test", "id_not_in_sample"}


@pytest.mark.parametrize("twin", ["r2 ", " r2", "r2\u200b", "r\u00ad2"])
@pytest.mark.parametrize("turned", [False, True])
def test_ids_that_look_the_same_are_told(data, twin, turned):
    """They pass as two, and the next program that trims its cells makes one of them."""
    data.train[1]["id"], data.train[4]["id"] = ("r2", twin) if turned else (twin, "r2")
    train, _ = data.run()
    listed = data.problems()
    assert len(train) == 6 and list(listed["kind"]) == ["near_duplicate_id"] and listed["severity"][0] == "warning"
    assert "line 3 has the id" in listed["problem"][0]
