"""Reading a file of settings: its keys, or one message about whatever is wrong with the YAML.

Importing this module must stay cheap, since it is used on every call of Snakemake.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from vqaflow.config.yaml_hints import JsonKeyTwice, has_odd_signs, odd_line, read_json, slip, text_of
from vqaflow.runtime.errors import UserError

MOST_VALUES, DEEPEST = 100_000, 50  # far above any real configuration


class KeyTwice(yaml.MarkedYAMLError):
    """A key that a section has twice: YAML keeps the last one without a word."""


class Loader(yaml.SafeLoader):
    """The safe loader, which refuses keys that a section has twice."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """The section as it is written, before `<<` merges others into it, whose keys may be repeated."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise KeyTwice(problem=f"the section has the key {key.value} twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def read_keys(path: Path) -> dict[Any, Any]:
    """The keys and values of a file. Raises UserError if it is missing, or not YAML with keys."""
    try:
        text = text_of(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Name an existing settings file.") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    try:
        values = values_of(text)
    except KeyTwice as error:
        raise UserError(f"{path} line {error.problem_mark.line + 1}: {error.problem}. Make one of the two.") from None
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{path}{slip(text, error)}") from None
    except JsonKeyTwice as error:
        raise UserError(f"{path}: {error}") from None
    except (
        yaml.YAMLError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # an impossible date, a wrong tag
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}). Correct it.") from None
    except RecursionError:
        raise UserError(f"{path}: {too_deep()}") from None
    if problem := size_problem(values):
        raise UserError(f"{path}: {problem}")
    if values is None:
        return {}
    if has_odd_signs(values) and (odd := odd_line(text)):
        raise UserError(f"{path}{odd}")
    if not isinstance(values, dict):
        raise UserError(f"{path}: does not contain `key: value` lines. Write it like config.yaml of vqaflow.")
    return values


def values_of(text: str) -> Any:
    """The values of a text in YAML; JSON may be indented with tabs, too."""
    if text.lstrip()[:1] == "{":
        with suppress(json.JSONDecodeError):
            return read_json(text)
    return yaml.load(text, Loader)


def too_deep() -> str:
    """What is wrong with sections that nobody would write."""
    return "is nested too deeply, or an alias (*name) stands within itself. Correct it."


def size_problem(values: Any) -> str:
    """What is wrong with values whose aliases make them huge or endless; "" if nothing is."""
    waiting, count = [(values, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        inner = [*value.values()] if isinstance(value, Mapping) else value if isinstance(value, list) else []
        count += len(inner)
        if depth > DEEPEST:
            return too_deep()
        if count > MOST_VALUES:
            return f"has more than {MOST_VALUES:,} values, with what its aliases (*name) stand for. Make it smaller."
        waiting += [(item, depth + 1) for item in inner]
    return ""
