"""What a member takes from the configuration, and which of its files there are to be."""

import copy
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from places import ROOT
from vqaflow.artifacts.parts import fold_of, part_order, seed_of, without_seed
from vqaflow.config import check as config_check
from vqaflow.config.check import check_config, check_files
from vqaflow.config.members import FOREIGN, TUNED, UNTUNED, explored_model, member_named, members_of, with_model
from vqaflow.config.sections import merged
from vqaflow.runtime.errors import UserError

SCHEMA = ROOT / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
FILES = {"oof": "friend_oof.csv", "test": "friend_test.csv"}


def configured(**members: object) -> dict:
    """config.yaml with these members."""
    return copy.deepcopy(CONFIG) | {"members": members}


def problems(config: dict) -> list[str]:
    """The lines of the error, without its head."""
    with pytest.raises(UserError) as raised:
        check_config(config, SCHEMA)
    return [line.strip() for line in str(raised.value).removeprefix("config: ").splitlines()]


def test_the_one_member_of_config_yaml_has_the_sections_as_they_stand():
    (main,) = members_of(CONFIG).values()
    assert (main.name, main.kind, main.seeds, main.refit) == ("main", TUNED, (), False)
    assert (main.model, main.train, main.views) == tuple(CONFIG[key] for key in ("model", "train", "views"))
    usual = {"letters": None, "max_tokens": 8192}  # as if there were no such keys
    assert main.prompt | usual == CONFIG["prompt"] and not usual.keys() & main.prompt.keys()
    assert main.orders == CONFIG["orders"]


def test_a_member_overrides_single_keys():
    """If a section were replaced as a whole, the keys that are left out would be missing."""
    entry = {"model": {"max_pixels": 60000}, "train": {"lora": {"r": 4}}, "views": {"fine": {"enabled": True}}}
    config = configured(main=entry, second={"orders": "all"})
    check_config(config, SCHEMA)
    main, second = members_of(config).values()
    assert main.model == CONFIG["model"] | {"max_pixels": 60000}
    assert main.train["lora"] == CONFIG["train"]["lora"] | {"r": 4}
    assert main.shown_views == ["original", "hflip", "fine"]
    assert (second.model, second.train, second.orders) == (CONFIG["model"], CONFIG["train"], "all")
    assert CONFIG["train"]["lora"]["r"] == 16, "the section itself was changed"


@pytest.mark.parametrize(
    ("entry", "kind", "oof", "test"),
    [
        ({}, TUNED, ["0", "1"], ["0", "1"]),
        ({"refit": True}, TUNED, ["0", "1"], ["0", "1", "all"]),
        ({"seeds": [7, 8]}, TUNED, ["0-seed7", "0-seed8", "1-seed7", "1-seed8"], None),
        ({"seeds": [7], "refit": True}, TUNED, ["0-seed7", "1-seed7"], ["0-seed7", "1-seed7", "all-seed7"]),
        ({"train": "none"}, UNTUNED, ["base"], ["base"]),
        ({"probabilities": FILES}, FOREIGN, ["file"], ["file"]),
    ],
)
def test_each_kind_has_its_parts(entry, kind, oof, test):
    """OOF rows must never be scored by an adapter that was trained on them, so `all` has test rows only."""
    config = configured(one=entry)
    check_config(config, SCHEMA)
    (one,) = members_of(config).values()
    assert (one.kind, one.parts("oof", 2), one.parts("test", 2)) == (kind, oof, test or oof)
    assert one.trained_parts(2) == (one.parts("test", 2) if kind == TUNED else [])


def test_the_parts_of_seeds_differ_in_the_seed_alone():
    (one,) = members_of(configured(one={"seeds": [7, 8], "train": {"epochs": 2}})).values()
    assert one.train_for(8) == CONFIG["train"] | {"epochs": 2, "seed": 8}
    assert one.train_for(None) == CONFIG["train"] | {"epochs": 2}


@pytest.mark.parametrize(
    ("part", "fold", "seed", "alone"),
    [("12", 12, None, "12"), ("0-seed7", 0, 7, "0"), ("all", None, None, "all"), ("all-seed3", None, 3, "all")]
    + [("base", None, None, "base")],
)
def test_a_part_says_its_fold_and_seed(part, fold, seed, alone):
    assert (fold_of(part), seed_of(part), without_seed(part)) == (fold, seed, alone)


def test_parts_are_sorted_by_number():
    """As text, fold 10 would come before fold 2."""
    parts = ["all", "10-seed2", "10-seed1", "2", "base"]
    assert sorted(parts, key=part_order)[:3] == ["2", "10-seed1", "10-seed2"]


def test_null_leaves_a_member_out():
    """A user's file can only add to config.yaml's mappings, so it needs a way to remove main."""
    config = configured(main=None, untuned={"train": "none"})
    check_config(config, SCHEMA)
    assert list(members_of(config)) == ["untuned"]
    assert problems(configured(main=None)) == ["members: none is left. Keep at least one that is not null."]


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"train": "non"}, "members.one.train (none, for the untuned base, or what differs from train): 'non' is"),
        ({"train": {"epochs": 0}}, "members.one.train.epochs (passes over the training rows): 0 is too small. Write"),
        ({"train": {"epoch": 1}}, "members.one.train.epoch: unknown key; did you mean 'epochs'?"),
        ({"model": {"bas": "x"}}, "members.one.model.bas: unknown key; did you mean 'base'?"),
        ({"seed": 1}, "members.one.seed: unknown key; did you mean"),
        ({"seeds": []}, "members.one.seeds (an adapter per fold from each of these seeds): "),
        ({"train": "none", "seeds": [1]}, "members.one.seeds: an untuned member trains no adapter."),
        ({"train": "none", "refit": True}, "members.one.refit: an untuned member trains no adapter."),
        ({"train": {"seed": 4}, "seeds": [1]}, "members.one.train.seed: `seeds` replaces it."),
        ({"probabilities": FILES, "orders": "all"}, "members.one.orders: a member that comes from files has no"),
        ({"probabilities": {"oof": "x.csv"}}, "members.one.probabilities.test: the key is missing."),
        ({"prompt": {"normal_form": "NFC"}}, "members.one.prompt.normal_form: all members read the same tables."),
        ({"model": {"min_pixels": 60000}}, "members.one.model.min_pixels: 60000 is above model.max_pixels, 50176."),
        ({"prompt": {"choice_format": "{letter}{text}}"}}, "members.one.prompt.choice_format: "),
        ({"views": {"original": {"flip": True}}}, "members.one.views.original: "),
        ({"views": {"wide": {"when": "close"}}}, "members.one.views.wide.when: 'close' is not a condition."),
    ],
)
def test_a_mistake_in_a_member_is_named_once_with_its_cure(entry, line):
    """It would otherwise end the run after hours of another member's training."""
    (problem,) = problems(configured(main={}, one=entry))
    assert problem.startswith(line)


def test_a_mistake_in_a_section_is_not_repeated_for_every_member():
    config = configured(main={}, one={"orders": "all"}, two={"orders": "identity"})
    config["prompt"]["choice_format"] = "{letter}{text}}"
    (problem,) = problems(config)
    assert problem.startswith("prompt.choice_format: ")


def test_a_prior_needs_orders_in_each_member():
    config = configured(main={}, one={"orders": "identity"})
    config["ensemble"]["order_pooling"] = "prior"
    assert problems(config) == [
        "members.one.orders: a position prior cannot be estimated from one choice order. "
        "Set orders to cyclic, or use geometric."
    ]


def test_missing_probability_files_are_named_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(FILES["oof"]).touch()
    with pytest.raises(UserError, match=r"^config: members.friend.probabilities.test: there is no file friend_test"):
        check_files(configured(friend={"probabilities": FILES}), Path("results"))


def test_a_stage_by_hand_needs_a_name_only_where_there_are_several():
    one, several = members_of(CONFIG), members_of(configured(main={}, untuned={"train": "none"}))
    assert member_named(one, None).name == "main"
    assert member_named(several, "untuned").kind == UNTUNED
    with pytest.raises(UserError, match="Name one of main, untuned"):
        member_named(several, None)
    with pytest.raises(UserError, match="did you mean 'untuned'"):
        member_named(several, "untunde")


def test_files_of_others_load_no_model():
    members = members_of(configured(main={}, friend={"probabilities": FILES}))
    assert [member.name for member in with_model(members)] == ["main"]


def test_another_base_does_not_take_over_the_revision():
    """A commit of one repository does not exist in another: loading would fail after the tables were checked."""
    config = configured(main={}, other={"model": {"base": "A/B"}}, own={"model": {"base": "A/B", "revision": "c1"}})
    config["model"]["revision"] = "a1"
    assert {name: m.model["revision"] for name, m in members_of(config).items()} == {
        "main": "a1",
        "other": None,
        "own": "c1",
    }


@pytest.mark.parametrize(
    ("members", "base"),
    [
        ({"main": {}, "aaa": {"train": "none", "model": {"base": "A/B"}}}, CONFIG["model"]["base"]),
        ({"main": None, "bbb": {"model": {"base": "C/D"}}, "aaa": {"probabilities": FILES}}, "C/D"),
        ({"main": {"probabilities": FILES}}, CONFIG["model"]["base"]),
    ],
)
def test_the_data_are_explored_by_the_model_of_main(members, base):
    """If it were the first by name, a new member would draw all figures of the data again."""
    assert explored_model(configured(**members))["base"] == base


def test_a_search_without_a_member_that_trains_is_refused():
    config = configured(main={"train": "none"})
    config["hpo"]["enabled"] = True
    assert problems(config)[0].startswith("hpo.enabled: no member trains")


def test_a_tracker_of_a_member_is_looked_for_too(monkeypatch):
    real = config_check.find_spec
    monkeypatch.setattr(config_check, "find_spec", lambda name: None if name == "wandb" else real(name))
    config = configured(main={}, one={"train": {"trackers": ["wandb"]}})
    assert problems(config)[0].startswith("members.one.train.trackers: wandb is not installed here")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"Main": {}}, "members: 'Main' is not a name. Use lower-case letters, digits and _, and begin with a letter."),
        ({"one": {"train": "None"}}, "'None' is not a kind of training. Write none, or keys of train below it."),
    ],
)
def test_no_pattern_is_shown_to_a_user(members, words):
    (problem,) = problems(configured(**members))
    assert words in problem


@pytest.mark.parametrize(
    "files",
    [
        [{"a": None}, {"a": {}}],
        [{"a": "none"}, {"a": {}}],
        [{"a": "none"}, {"a": {"b": 1}}],
        [{"a": {"b": {"c": 1}}}, {"a": {"b": None}}, {"a": {"b": {"d": 2}}}],
        [{"a": {"b": 1}}, {"a": {"c": {}}}],
    ],
)
def test_files_are_merged_as_by_snakemake(files):
    """A stage that is run by hand would else use other settings than the workflow."""
    ours, theirs = {}, {}
    for values in files:
        ours = merged(ours, values)
        update_config(theirs, copy.deepcopy(values))
    assert ours == theirs


@pytest.mark.parametrize(
    ("view", "told"), [({"read": True}, True), ({"read": True, "enabled": False}, False), ({}, False)]
)
def test_what_asks_for_text_in_images_is_told_only_where_a_view_reads(view, told):
    """A change of prompt.read would pool members again whose scores do not depend on it."""
    config = configured(main={})
    config["views"] = config["views"] | {"other": view}
    described = members_of(config)["main"].describe()["prompt"]
    assert ({"read", "transcript"} <= described.keys()) == told and "system" in described


def test_the_usual_longest_text_is_as_if_there_were_no_such_key():
    """Else member.json, and each rule's parameters, would change with a key that changes no result."""
    config = configured(main={})
    usual = members_of(config)["main"].prompt
    assert "max_tokens" in config["prompt"] and "max_tokens" not in usual
    config["prompt"]["max_tokens"] = 9000
    assert members_of(config)["main"].prompt == dict(usual) | {"max_tokens": 9000}


@pytest.mark.parametrize(
    ("members", "lines"),
    [
        ({"main": {"train": {"teacher": "strong"}}}, ["members.main.train.teacher: there is no member 'strong'"]),
        ({"main": {"train": {"teacher": "main"}}}, ["members.main.train.teacher: main cannot learn from itself. "]),
        (
            {"main": {"train": {"teacher": "two"}}, "two": {"train": {"teacher": "main"}}},
            [
                "members.main.train.teacher: main waits for itself (main < two < main). ",
                "members.two.train.teacher: two waits for itself (two < main < two). ",
            ],
        ),
    ],
)
def test_a_teacher_is_another_member_that_does_not_wait_for_its_pupil(members, lines):
    """Snakemake would end in a CyclicGraphException, or look for a file that no rule makes."""
    found = problems(configured(**members))
    assert len(found) == len(lines)
    assert all(one.startswith(line) for one, line in zip(found, lines, strict=True)), found


def test_a_teacher_of_the_section_is_for_all_members_but_itself():
    """Untuned members and files learn nothing; a teacher that is tuned needs `teacher: null`."""
    members = {"main": {}, "strong": {"train": "none"}, "friend": {"probabilities": FILES}}
    config = configured(**members)
    config["train"]["teacher"] = "strong"
    check_config(config, SCHEMA)
    assert "teacher" in members_of(config)["main"].describe()
    assert not {"teacher"} & {key for name in ("strong", "friend") for key in members_of(config)[name].describe()}
    config["members"]["strong"] = {"refit": True}
    (line,) = problems(config)
    assert line.startswith("train.teacher: strong cannot learn from itself.")
    config["members"]["strong"] = {"train": {"teacher": None}}
    check_config(config, SCHEMA)
