"""Whatever value a key is given, the message says what is wrong and how to write it, in words of this project."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from places import ROOT
from vqaflow.config.check import Validator, load_schema
from vqaflow.config.schema_wording import LIMITS, PATTERNS, leaves, refusals

SCHEMA = load_schema(ROOT / "schemas" / "config.schema.yaml")
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
VALUES = (
    None,
    -1,
    0,
    1.5,
    10**12,
    float("inf"),
    "nonsense",
    "two words",
    "a\nb",
    "",
    "3",
    [],
    ["x", "x"],
    [1],
    {},
    True,
)
CURE = re.compile(
    r"(Write|Use|Add|List|Fill|Put)\b.+\.$|(use one of|did you mean) .+[.?]|A number from 1 to 24 works too\.$"
)
# How jsonschema or Python would say it.
FOREIGN = re.compile(
    r"\b(None|True|False|non-empty|non-unique|does not match|minimum of|maximum of|too short|too long)\b"
)


def with_value(key: str, value: Any) -> dict[str, Any]:
    """config.yaml with another value at a dotted place."""
    config = copy.deepcopy(CONFIG)
    *parents, last = key.replace("members.*", "members.main").replace("views.*", "views.fine").split(".")
    section = config
    for parent in parents:
        if not isinstance(section.get(parent), dict):
            section[parent] = {}
        section = section[parent]
    section[last] = value
    return config


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_every_message_has_a_cure(value):
    """A user who reads "[] is too short. Change it." has to look for the key's rules elsewhere."""
    told = []
    for key in leaves(SCHEMA):
        told += refusals(Validator(SCHEMA).iter_errors(with_value(key, value)), SCHEMA)
    assert len(told) > 20
    assert [line for line in told if not CURE.search(line)] == []
    assert [line for line in told if FOREIGN.search(line)] == []
    assert [line for line in told if "\n" in line] == []


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("folds.n", 1, "folds.n (the number of folds): 1 is too small. Write 2 or more."),
        ("train.epochs", 0, "train.epochs (passes over the training rows): 0 is too small. Write a number above 0."),
        ("train.compile", "yes", "are compiled): 'yes' is not true or false. Write true, without quotation marks."),
        ("train.trackers", "wandb", "'wandb' is not a list. Write a list ([x, y])."),
        ("train.gradient_checkpointing", "on", "'on' is unknown; use one of auto, true, false."),
        ("train.cache_vision", "ram", "'ram' is unknown; use one of off, memory, disk."),
        ("data.columns.choices", ["a"], '["a"] has too few entries. List 2 or more.'),
        ("data.columns.choices", ["a", "a"], '["a", "a"] lists an entry twice. List each entry once.'),
        ("data.train_csv", "", "data.train_csv (the CSV of questions with answers): it is empty. Fill it in."),
        ("views.fine.pixels", "nativ", "did you mean 'native'?"),
        ("views.fine.blind", True, "true is unknown; use one of text, grey, null."),
        ("orders", 25, "25 is unknown; use one of identity, cyclic, all. A number from 1 to 24 works too."),
    ],
)
def test_a_message_reads_well(key, value, line):
    """As users meet it: the key, what it means, what is wrong, and what to write."""
    (told,) = refusals(Validator(SCHEMA).iter_errors(with_value(key, value)), SCHEMA)
    assert told.startswith(key) and line in told


def test_a_wrong_type_is_told_once():
    """1.5 pixels would be called too small and not a whole number."""
    told = list(refusals(Validator(SCHEMA).iter_errors(with_value("model.min_pixels", 1.5)), SCHEMA))
    assert len(told) == 1 and "1.5 is not a whole number. Write a whole number in digits." in told[0]


def rules_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """Every keyword of the schema with its value."""
    if isinstance(schema, dict):
        yield from ((key, value) for key, value in schema.items() if not isinstance(value, dict))
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from rules_of(inner)


def test_every_rule_of_the_schema_has_words():
    """A new pattern without words would end in a traceback in the user's terminal."""
    rules = [(key, value) for key, value in rules_of(SCHEMA) if isinstance(value, int | str)]
    patterns = {value for key, value in rules if key == "pattern"}
    assert patterns <= set(PATTERNS)
    limits = {key for key, _ in rules if re.fullmatch("(min|max|exclusive|unique)[A-Z]?.*", key)}
    names = {name for key in leaves(SCHEMA) for name in key.split(".")}
    assert limits - names <= set(LIMITS)
