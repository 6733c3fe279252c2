"""Views for small text, blind ones, and the view that a member trains: what is scored, and what is refused before."""

import copy
from typing import Any

import pytest
import yaml

from places import ROOT
from vqaflow.config.check import check_config
from vqaflow.config.members import Member, explored_views, members_of
from vqaflow.config.sections import merged
from vqaflow.runtime.errors import UserError

SCHEMA = ROOT / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
ON = {"enabled": True}


def configured(**changes: Any) -> dict[str, Any]:
    """config.yaml with these keys changed."""
    return merged(copy.deepcopy(CONFIG), changes)


def members(**changes: Any) -> dict[str, Member]:
    """The members of a configuration that has no mistake."""
    config = configured(**changes)
    check_config(config, SCHEMA)
    return members_of(config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"views": {"tiles": {"tiles": "2by2"}}}, "'2by2' is not rows x columns"),
        ({"views": {"tiles": {"tiles": "1x1"}}}, "'1x1' is not rows x columns"),
        ({"views": {"native": {"max_pixels": None}}}, "views.native.max_pixels: pixels: native needs a cap"),
        ({"views": {"native": {"min_pixels": 9999}}}, "views.native.min_pixels: pixels: native never enlarges"),
        ({"views": {"blind": {"flip": True}}}, "views.blind.flip: a blind view shows no image"),
        ({"views": {"hflip": {"overlap": 0.2}}}, "views.hflip.overlap: without tiles it has no meaning"),
        ({"views": {"hflip": {"read_tokens": 9}}}, "views.hflip.read_tokens: without read it has no meaning"),
        ({"train": {"view": "tile"}}, "train.view: there is no view 'tile'; did you mean 'tiles'"),
        ({"train": {"view": "hflip"}}, "train.view: hflip mirrors, which can change the answer"),
        ({"train": {"view": "blind"}}, "train.view: blind is blind"),
        ({"train": {"view": "tiles"}}, "views.tiles: only this view has every row. Keep it enabled"),
        ({"members": {"x": {"train": {"view": "native"}}}}, "members.x.views.native: only this view has every row"),
        ({"prompt": {"read": "Read it."}}, "prompt.read: needs {question} once"),
        ({"prompt": {"transcript": "none"}}, "prompt.transcript: needs {transcript} once"),
        ({"hpo": {"space": {"view": {"choice": ["tiles"]}}}}, "hpo.space.view: it does not change how well"),
    ],
)
def test_a_mistake_is_named_with_its_cure(changes, words) -> None:
    """It would show after the training at the earliest, or never."""
    with pytest.raises(UserError) as raised:
        check_config(configured(**changes), SCHEMA)
    assert words in str(raised.value) and str(raised.value).count("\n") == 0, raised.value


def test_a_member_that_trains_tiles_is_scored_in_tiles() -> None:
    """Its adapter has never seen the whole image alone, so those scores would only blur the pool."""
    views = {"tiles": ON | {"when": "margin < 0.3"}, "blind": ON}
    found = members(views=views, members={"close": {"train": {"view": "tiles"}}, "both": {
        "train": {"view": "tiles"}, "views": {"original": ON}}})  # fmt: skip
    main, close, both = found["main"], found["close"], found["both"]
    assert (main.main_view, main.shown_views) == ("original", ["original", "hflip", "tiles", "blind"])
    assert (close.main_view, close.shown_views) == ("tiles", ["hflip", "tiles", "blind"])
    assert both.shown_views == main.shown_views
    assert main.rendering("tiles")["when"] == "margin < 0.3"
    assert "when" not in close.rendering("tiles"), "the main view has every row"


def test_blind_views_are_scored_where_there_are_answers_and_pooled_nowhere() -> None:
    """A pool takes whatever is right more often than chance."""
    (main,) = members(views={"blind": ON}).values()
    assert main.pooled_views == ["original", "hflip"] == main.scored_views("test")
    assert main.scored_views("oof") == ["original", "hflip", "blind"]
    with pytest.raises(UserError, match="blind"):
        members(views={"blind": ON}, ensemble={"recipe": "mean without main/blind"})


def test_only_what_decides_the_tokens_explores_the_data_again() -> None:
    """A condition or a transcript changes no picture."""
    plain = explored_views(configured(views={"tiles": ON, "read": ON}))
    assert plain == {"original": {}, "hflip": {}, "tiles": {"tiles": "2x2", "overlap": 0.1}, "read": {}}
    again = explored_views(configured(views={"tiles": ON | {"when": "margin < 0.2"}, "read": ON | {"read_tokens": 9}}))
    assert again == plain
