"""What Snakemake compares of a rule's settings must differ whenever a setting does, and name it in a few words."""

import pytest

from vqaflow.config.named_values import LONGEST, changed_keys, named_values

PROMPT = {"system": "You see a picture.", "templates": {"count": "How many? " * 30, "what": "{question}"}}


def test_texts_name_their_keys():
    """A user reads the key as it stands in my.yaml."""
    texts = named_values("prompt", PROMPT)
    assert texts["prompt.system"] == 'prompt.system: "You see a picture."'
    assert set(texts) == {"prompt.system", "prompt.templates.count", "prompt.templates.what"}
    assert all(len(text) < LONGEST + 50 for text in texts.values())


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (1, "1"), (None, "null"), ([1, 2], [2, 1])])
def test_values_of_other_kinds_differ(one, other):
    """A result of `1` is not one of `"1"`."""
    assert named_values("a.b", one) != named_values("a.b", other)


def test_an_edit_at_the_end_of_a_long_text_is_seen():
    """A template is longer than what is shown of it: a word changed at its end must rerun its rules."""
    longer = {"templates": {"count": PROMPT["templates"]["count"] + "!"}}
    before, now = named_values("prompt", PROMPT), named_values("prompt", longer)
    assert before["prompt.templates.count"] != now["prompt.templates.count"]


def test_changed_keys_are_named_once():
    """Before and after are two texts of one key; Snakemake puts quotation marks around each."""
    before, now = ["'train.epochs: 3'", '"prompt.system: \\"a: b\\""'], ["'train.epochs: 4'"]
    assert changed_keys(before, now) == ["prompt.system", "train.epochs"]
