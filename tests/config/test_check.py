"""A mistake in the configuration must be named with its cure before hours are spent on it."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from places import ROOT
from vqaflow.config import check as config_check
from vqaflow.config.check import check_config, check_files
from vqaflow.config.choices_check import choices_problems
from vqaflow.config.loading import in_order
from vqaflow.config.members import members_of
from vqaflow.config.recipe_names import every_recipe
from vqaflow.runtime.errors import UserError

SCHEMA = ROOT / "schemas" / "config.schema.yaml"
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SEEDED = ("data.demo", "folds", "train", "ensemble", "hpo")


def changed(key: str, value: Any) -> dict[str, Any]:
    """config.yaml with another value, or another key, at a dotted place."""
    config = copy.deepcopy(CONFIG)
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section[last] = value
    return config


def problems(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        check_config(config, SCHEMA)
    return str(error.value)


def test_the_shipped_configuration_has_no_mistake():
    check_config(CONFIG, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.answers_use", "unanimos", ["data.answers_use", "'unanimos' is unknown", "`at least 3`"]),
        ("data.answers_use", "at least 0", ["data.answers_use", "`at least 3`"]),
        ("data.agreement_weight", 1, ["data.agreement_weight", "not true or false"]),
        ("ensemble.metric", "macro-f1", ["ensemble.metric", "did you mean 'macro_f1'?"]),
        ("train.learning_rat", 1.0, ["train.learning_rat: unknown key", "'learning_rate'"]),
        ("trian", {}, ["trian: unknown key", "'train'"]),
        ("model.batch_size", 4, ["model.batch_size: unknown key", "'train.batch_size'"]),  # a key of another section
        ("views.hflip.flipped", True, ["views.hflip.flipped: unknown key", "'flip'"]),
        ("train.epochs", "3", ["train.epochs", "'3' is not a number"]),
        ("train.learning_rate", "1e-4", ["1.0e-4"]),  # YAML 1.1 reads 1e-4 as text
        ("train.batch_size", 2.0, ["train.batch_size", "not a whole number"]),
        ("train.epochs", float("nan"), ["train.epochs"]),
        ("train.epochs", True, ["train.epochs", "not a number"]),
        ("train.label_smoothing", 1.0, ["train.label_smoothing"]),
        ("train.objective", "choise", ["train.objective", "did you mean 'choice'?"]),
        ("model.quantization", "int8", ["model.quantization", "nf4"]),
        ("orders", "cyclical", ["orders", "did you mean 'cyclic'?"]),
        ("orders", 25, ["orders"]),
        ("views", None, ["views", "{}"]),
        ("views.original.enabled", False, ["views.original"]),
        ("views.original.flip", True, ["views.original"]),
        ("views.fine.when", "margin > 0.3", ["views.fine.when", "margin < 0.3"]),
        ("views.fine.max_pixels", 10000, ["views.fine: min_pixels 50176 is above max_pixels 10000"]),
        ("model.min_pixels", 60000, ["model.min_pixels: 60000 is above"]),
        ("data.columns.answer", "question", ["data.columns: 'question' is given twice"]),
        ("prompt.templates.ocr", "{question} {choices}", ["prompt.templates.ocr", "at the start of a line"]),
        ("prompt.templates.ocr", "\n{choices}\n{question}", ["prompt.templates.ocr", "Swap them"]),
        ("prompt.choice_format", "{text}", ["prompt.choice_format"]),
        ("hpo.space.learning_rat", {"choice": [1e-4]}, ["hpo.space.learning_rat"]),
        ("prompt.letters", ["A", "B", "C"], ["prompt.letters: has 3 letters, but the tables have 4 choices. Add"]),
        ("prompt.letters", ["A", "B", "C", "D E"], ["prompt.letters"]),
        ("prompt.letters", ["A", "B", "C", "A"], ["prompt.letters"]),
        ("members", {"main": {"prompt": {"letters": [1, 2]}}}, ["members.main.prompt.letters: has 2 letters, but"]),
        ("hpo.folds", [5], ["hpo.folds"]),
        *((f"{key}.seed", 2**32, [f"{key}.seed", "4294967295"]) for key in SEEDED),  # numpy takes no more
        ("ensemble.recipe", "nonsense", ["ensemble.recipe", "auto, default, mean", "mean without main/hflip"]),
        ("ensemble.recipe", "log_maen", ["did you mean 'log_mean'?"]),
        ("ensemble.recipe", "mean without man/hflip", ["did you mean 'main'?"]),
        ("ensemble.recipe", "mean without main/fine", ["names no view of member 'main'"]),
    ],
)
def test_a_mistake_is_named_with_its_cure(key, value, words):
    message = problems(changed(key, value))
    assert message.count("\n") == 0, "one mistake, one line"
    assert all(word in message for word in words), message


@pytest.mark.parametrize("orders", ["identity", 1])
def test_a_prior_of_one_order_is_refused_before_the_training(orders):
    """Otherwise the run would end at the pool, after its GPU hours."""
    config = changed("orders", orders)
    config["ensemble"]["order_pooling"] = "prior"
    assert "orders: a position prior cannot be estimated from one choice order" in problems(config)
    check_config(config | {"orders": "cyclic"}, SCHEMA)


@pytest.mark.parametrize(
    ("choices", "change", "words"),
    [
        (3, {"orders": 7}, "orders: 7: the tables' 3 choices have only 6 orders. Use a number up to 6."),
        (5, {"orders": "all"}, "orders: all: 5 choices have 120 orders, and at most 24 are scored."),
        (2, {"members": {"main": {"orders": 3}}}, "members.main.orders: 3: the tables' 2 choices have only 2 orders"),
    ],
)
def test_orders_that_there_are_not_are_refused_before_the_training(choices, change, words):
    """Otherwise the run would end at the scores, after its GPU hours."""
    config = changed("data.columns.choices", list("abcdefghij"[:choices])) | change
    assert words in str(list(choices_problems(config)))


def test_choice_orders_of_a_training_and_of_its_search_are_counted():
    """A search would lose every trial that draws more orders than there are."""
    config = changed("data.columns.choices", ["a", "b"])
    config["train"]["choice_orders"] = 3
    config["hpo"] |= {"enabled": True, "space": {"choice_orders": {"choice": [1, 2, 4]}}}
    told = list(choices_problems(config))
    assert [problem.split(":")[0] for problem in told] == ["hpo.space.choice_orders", "train.choice_orders"]
    assert not list(choices_problems(changed("orders", "all")))


def test_every_recipe_may_be_named():
    """A pool that the check forgets could not be kept, although a run has chosen it."""
    config = changed("members", {"main": {}, "untuned": {"train": "none"}, "third": {"orders": "all"}})
    for recipe in every_recipe("mean", {name: ["original", "hflip"] for name in config["members"]}):
        config["ensemble"]["recipe"] = recipe.name
        check_config(config, SCHEMA)


@pytest.mark.parametrize("with_folder", [False, True])
def test_a_tracker_that_is_not_installed_is_named_before_anything_runs(tmp_path, monkeypatch, with_folder):
    """Trainings start only after tables and folds; the folder that wandb leaves behind is not a package."""
    real = config_check.find_spec
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(config_check, "find_spec", lambda name: real("json" if name == "torch" else name))
    if with_folder:
        (tmp_path / "wandb").mkdir()
    assert "train.trackers: wandb is not installed here" in problems(changed("train.trackers", ["wandb"]))


def test_trackers_are_not_looked_for_where_no_job_runs(monkeypatch):
    """Snakemake may run in its own environment, and make the one that the jobs run in."""
    monkeypatch.setattr(config_check, "find_spec", lambda name: None)
    check_config(changed("train.trackers", ["tensorboard", "wandb"]), SCHEMA)


QWEN = {"base": "Qwen/Qwen3-VL-8B-Instruct"}


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"main": {}}, "model.base: assets/tiny-qwen2_5-vl knows only the demo's images"),
        ({"main": {"model": QWEN}, "new": {"train": "none"}}, "model.base: assets/tiny-qwen2_5-vl knows only"),
        (
            {"main": {"model": QWEN}, "new": {"model": {"base": "/x/assets/tiny-qwen3-vl/"}}},
            "members.new.model.base: /x/assets/tiny-qwen3-vl/ knows only",
        ),
    ],
)
def test_the_demos_base_does_not_answer_other_tables(members, told):
    """A user who forgets model.base would hand in a toy's answers, and nothing would say so."""
    config = changed("data.train_csv", "mine/train.csv") | {"members": members}
    assert told in problems(config) and "model.allow_demo_base: true" in problems(config)
    config["model"]["allow_demo_base"] = True
    check_config(config, SCHEMA)
    assert all("allow_demo_base" not in member.model for member in members_of(config).values())


def test_layers_on_several_gpus_are_counted_once_and_not_chosen_by_auto():
    """The number changes no result, so no digest may know it; `auto` knows the memory of one GPU only."""
    config = {**CONFIG, "model": CONFIG["model"] | {"devices": 2, "quantization": "auto"}}
    assert "model.quantization: auto chooses by the memory of one GPU" in problems(config)
    config["model"]["quantization"] = "none"
    config["members"] = {"large": {"train": "none"}, "small": {"model": {"devices": 1}}}
    check_config(config, SCHEMA)
    found = members_of(config)
    assert [member.devices for member in found.values()] == [2, 1]
    assert all("devices" not in member.model for member in found.values())


def test_other_bases_answer_other_tables():
    """A folder of the user's own called assets, a hub name, or files of others."""
    for members in ({"main": {"model": QWEN}}, {"main": {"model": {"base": "assets/mine"}}}):
        check_config(changed("data.train_csv", "mine/train.csv") | {"members": members}, SCHEMA)


@pytest.mark.parametrize("value", ["3", "0.5", "true", "[a, b]"])
def test_a_value_that_snakemake_made_a_text_is_told(value):
    """--config "train={epochs: 3}" gives the text 3, which looks right to the user."""
    assert "Snakemake passes values inside {…} of --config on as text" in problems(changed("train.epochs", value))


def test_a_missing_key_is_named():
    config = copy.deepcopy(CONFIG)
    del config["train"]["lora"]["r"]
    assert "train.lora.r: the key is missing" in problems(config)


def test_all_mistakes_are_reported_at_once():
    """Not one per run, when each run waits in a queue."""
    config = changed("train.epochs", "many")
    config["model"]["max_pixels"] = 0
    config["foldes"] = {}
    message = problems(config)
    assert all(key in message for key in ("train.epochs", "model.max_pixels", "foldes"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.train_csv", "no.csv"), ("data.image_root", "no"), ("hardware.settings", "no.yaml")],
)
def test_a_file_that_is_not_there_is_named(key, value):
    with pytest.raises(UserError, match=rf"^config: {key}: there is no (file|folder) {value}\. "):
        check_files(changed(key, value), Path("results"))


def test_problems_of_the_base_are_listed_with_the_missing_files():
    """Not one per run, when each run waits in a queue."""
    with pytest.raises(
        UserError, match=r"^config: data.train_csv: .*\n +model.base: there is no folder /no\. Fix it\.$"
    ):
        check_files(
            changed("data.train_csv", "no.csv"), Path("results"), ["model.base: there is no folder /no. Fix it."]
        )


def test_the_workflow_checks_the_base_when_it_is_parsed():
    """The first training would meet it only after tables, images and folds."""
    rules = (ROOT / "rules" / "common.smk").read_text(encoding="utf-8")
    assert "for problem in base_problems(base)]" in rules
    assert "check_files(config, RESULTS_FOLDER, problems)" in rules


def test_what_the_workflow_makes_need_not_be_there(tmp_path, monkeypatch):
    """The run itself makes the demo's tables."""
    monkeypatch.chdir(tmp_path)
    check_files(CONFIG, Path("results"))


def test_the_order_of_keys_is_lost_and_that_of_lists_kept():
    assert list(in_order({"b": 1, "a": {"d": [2, 1], "c": 3}})) == ["a", "b"]
    assert in_order({"b": [{"z": 1, "y": 2}, 0]}) == {"b": [{"y": 2, "z": 1}, 0]}
    assert str(in_order(CONFIG)) == str(in_order(dict(reversed(CONFIG.items()))))
