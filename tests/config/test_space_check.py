"""The space of a search: mistakes are named with the key and the cure before anything runs."""

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
import yaml

import rows
from vqaflow.config.check import check_config
from vqaflow.config.loading import load_config
from vqaflow.config.sections import HpoConfig, entries
from vqaflow.config.space_check import NOT_SEARCHED
from vqaflow.runtime.errors import UserError
from vqaflow.search.space import outside, read_space, starting_point

SCHEMA = rows.ROOT / "schemas" / "config.schema.yaml"
TRAIN = {"learning_rate": 0.002, "epochs": 3, "lora": {"r": 16, "targets": ["q_proj", "v_proj"]}}


def message(space: Mapping[str, Any], **hpo: Any) -> str:
    """What checking config.yaml with this space added says; empty if nothing is wrong."""
    config = load_config(rows.ROOT / "config.yaml")
    config["hpo"] |= hpo | {"space": config["hpo"]["space"] | space}
    try:
        check_config(config, SCHEMA)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("space", "key", "what", "cure"),
    [
        ({"learnin_rate": {"range": [0, 1]}}, "learnin_rate", "train has no such key", "did you mean 'learning_rate'?"),
        ({"r": {"choice": [8]}}, "r", "train has no such key", "did you mean 'lora.r'?"),
        ({"lora": {"choice": [8]}}, "lora", "section of train", "Name one of its keys: lora.r"),
        ({"seed": {"choice": [1, 2]}}, "seed", "does not change", "set train.seed instead"),
        ({"epochs": {"choice": [1], "range": [1, 2]}}, "epochs", "choice and range at once", "all but one to null"),
        ({"epochs": {"choice": None, "chioce": [1]}}, "epochs", "'chioce' is unknown", "did you mean 'choice'?"),
        ({"epochs": [1, 2]}, "epochs", "not a set of values", "{choice: [...]}"),
        ({"epochs": {"choice": []}}, "epochs.choice", "not a list of values", "List at least one"),
        ({"epochs": {"choice": [2, 2]}}, "epochs.choice", "2 is listed twice", "Name each value once"),
        ({"epochs": {"choice": [2, 0]}}, "epochs.choice", "train.epochs does not take 0", "Write a number above 0"),
        ({"objective": {"choice": ["lm", "x"]}}, "objective.choice", "does not take 'x'", "use one of choice, lm"),
        ({"weight_decay": {"range": [0.1]}}, "weight_decay.range", "has 1 value(s)", "the lowest and the highest"),
        ({"weight_decay": {"range": [0.1, 0.0]}}, "weight_decay.range", "is above the highest", "Swap them"),
        ({"weight_decay": {"range": [0, float("inf")]}}, "weight_decay.range", "inf is not finite", "two numbers"),
        ({"weight_decay": {"range": [True, 1]}}, "weight_decay.range", "True is not a number", "two numbers"),
        ({"learning_rate": {"log_range": [0, 1]}}, "learning_rate.log_range", "has no logarithm", "Raise it above 0"),
        ({"learning_rate": {"log_range": ["1e-5", 1]}}, "learning_rate.log_range", "is text to YAML", "as in 1.0e-5"),
        ({"batch_size": {"range": [1.5, 8]}}, "batch_size.range", "1.5 is not a whole number", "Round it"),
    ],
)
def test_mistakes_are_named_with_key_and_cure(space: Mapping[str, Any], key: str, what: str, cure: str) -> None:
    """A typo in a user's space ends at once in a message that says how to correct it, not in a trial hours later."""
    line = message(space)
    assert line.count("\n") == 0, f"one mistake is one line: {line}"
    assert line.startswith(f"config: hpo.space.{key}: ")
    assert what in line and cure in line


def test_several_mistakes_are_reported_at_once() -> None:
    """Nobody wants to find them one by one."""
    lines = message({"r": {"choice": [1]}, "epochs": {"choice": []}}, folds=[0, 7]).splitlines()
    assert len(lines) == 3
    assert "hpo.folds: there is no fold 7. folds.n is 3: name folds from 0 to 2." in lines[0]


def test_an_empty_space_says_what_to_do() -> None:
    """All entries of config.yaml can be set to null; then there is nothing to search."""
    nothing = dict.fromkeys(load_config(rows.ROOT / "config.yaml")["hpo"]["space"])
    assert message(nothing) == (
        "config: hpo.space: nothing is left to search. Name a key of train, or set hpo.enabled to false."
    )


def test_null_takes_back_what_config_yaml_has() -> None:
    """A user's file adds to config.yaml's mappings; there must be a way to remove an entry or a kind."""
    assert message({"epochs": None, "lora.r": {"choice": None, "range": [8, 64]}}) == ""
    assert read_space({"epochs": None, "lora.r": {"choice": None, "range": [8, 64]}}) == read_space(
        {"lora.r": {"range": [8, 64]}}
    )


@pytest.mark.parametrize("path", ["config.yaml", "docs/examples/demo_search.yaml"])
def test_spaces_that_are_shipped_are_valid(path: str) -> None:
    """What users copy from must work, and hold nothing that a search may not vary."""
    config = load_config(rows.ROOT / "config.yaml", rows.ROOT / path)
    check_config(config, SCHEMA)
    assert not set(config["hpo"]["space"]) & set(NOT_SEARCHED)


def test_the_demo_search_starts_from_the_demo_configuration() -> None:
    """Its best is then never below what the demo has anyway."""
    config = load_config(rows.ROOT / "config.yaml", rows.ROOT / "docs" / "examples" / "demo_search.yaml")
    assert outside(read_space(config["hpo"]["space"]), config["train"]) == []


def test_values_are_drawn_as_train_takes_them() -> None:
    """Whole numbers stay whole, lists survive Optuna's storage, and the order of keys in the file does not matter."""
    space = {
        "lora.targets": {"choice": [["q_proj"], ["q_proj", "v_proj"]]},
        "lora.r": {"range": [8, 32]},
        "epochs": {"range": [1, 3]},
    }
    dimensions = read_space(space)
    assert dimensions == read_space(dict(reversed(space.items())))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = []
    for _ in range(20):
        trial = study.ask()
        drawn.append({dimension.key: dimension.suggest(trial) for dimension in dimensions})
    assert all(isinstance(values["lora.r"], int) and 8 <= values["lora.r"] <= 32 for values in drawn)
    assert any(values["epochs"] % 1 for values in drawn), "epochs may be fractions"
    assert {tuple(values["lora.targets"]) for values in drawn} == {("q_proj",), ("q_proj", "v_proj")}


def test_start_is_the_configuration_if_the_space_holds_it() -> None:
    """Otherwise the user learns which keys keep it out."""
    inside = read_space({"learning_rate": {"log_range": [1e-3, 1e-2]}, "lora.r": {"choice": [8, 16]}})
    assert starting_point(inside, TRAIN) == {"learning_rate": 0.002, "lora.r": 16}
    without = read_space({"learning_rate": {"log_range": [1e-5, 5e-5]}, "lora.r": {"choice": [8, 16]}})
    assert starting_point(without, TRAIN) is None
    assert outside(without, TRAIN) == ["learning_rate"]


def test_more_workers_are_the_same_search() -> None:
    """Jobs do not get what only says which jobs there are; otherwise their trials would run again."""
    hpo = yaml.safe_load((rows.ROOT / "config.yaml").read_text(encoding="utf-8"))["hpo"]
    assert entries(HpoConfig, hpo) == entries(HpoConfig, hpo | {"workers": 7, "enabled": True})
    assert entries(HpoConfig, hpo) != entries(HpoConfig, hpo | {"trials": 7})
