"""Writes docs/configuration.md: every key of the schema, with its values, its default and the rules that read it.

    python docs/examples/configuration.py

A test compares the page with schemas/config.schema.yaml and config.yaml.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "configuration.md"
LONGEST = 60  # signs of a default; config.yaml shows longer ones
Schema = Mapping[str, Any]

SECTIONS = ("model", "prompt", "train", "views")  # a member's, which are as the whole configuration's

HEAD = """# Configuration

Every key, made from [the schema](../schemas/config.schema.yaml) and [config.yaml](../config.yaml) by
`python docs/examples/configuration.py`; a test keeps them equal. config.yaml says more of each key, in comments. A
later file wins: config.yaml, the profile's settings, `--configfile my.yaml`.

*Reruns* are the rules that run again when the key changes, and what follows from them ([staleness.md](staleness.md));
–: nothing runs again. NAME stands for a name of yours, and [] for each entry of a list. A member may override `model`,
`prompt`, `train`, `views` and `orders` ([members.md](members.md))."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page: a section for each section of the configuration."""
    schema, defaults = (
        yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
        for name in ("schemas/config.schema.yaml", "config.yaml")
    )
    parts = [HEAD]
    for name, part in schema["properties"].items():
        rows = list(keys(part, name, defaults.get(name), part.get("x-rules", [])))
        told = [f"## {name}", ""]
        if part.get("description") and len(rows) > 1:
            told += [sentence(part["description"]), ""]
        told += ["| key | what it is | values | default | reruns |", "| --- | --- | --- | --- | --- |"]
        parts.append("\n".join([*told, *rows]))
    return "\n\n".join(parts) + "\n"


def keys(schema: Schema, path: str, default: Any, rules: list[str]) -> Iterator[str]:
    """The table's rows for a key and those below it; rules of a key hold for those below that name none."""
    rules = schema.get("x-rules", rules)
    inner = dict(schema.get("properties", {}))
    if isinstance(schema.get("additionalProperties"), Mapping):
        inner["NAME"] = schema["additionalProperties"]
    if "items" in schema and schema["items"].get("properties"):
        inner = schema["items"]["properties"]
        yield row(schema, path, default, rules)
        path += "[]"
    elif not inner:
        yield row(schema, path, default, rules)
    for name, part in inner.items():
        if path == "members.NAME" and name in SECTIONS:
            about = {"description": f"what differs from `{name}`"} | part
            yield row(about, f"{path}.{name}", ..., [f"those of `{name}`"])
            continue
        below = default.get(name) if isinstance(default, Mapping) else None
        known = isinstance(default, Mapping) and name in default
        yield from keys(part, f"{path}.{name}", below if known else ..., rules)


def row(schema: Schema, path: str, default: Any, rules: list[str]) -> str:
    """One key."""
    cells = [f"`{path}`", schema.get("description", ""), values(schema), told(default), ", ".join(rules) or "–"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def values(schema: Schema) -> str:
    """What the key may be."""
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{word(value)}`" for value in schema.get("enum", [schema.get("const")]))
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(values(part) for part in schema[several]))
    kinds = [{"array": "list"}.get(kind, kind) for kind in listed(schema.get("type", "any"))]
    text = " or ".join(kinds)
    if "pattern" in schema:
        text += f" like `{schema['pattern']}`"
    lower = schema.get("minimum", schema.get("exclusiveMinimum"))
    upper = schema.get("maximum", schema.get("exclusiveMaximum"))
    if lower is not None:
        text += f" {'above' if 'exclusiveMinimum' in schema else 'from'} {lower}"
    if upper is not None:
        text += f" {'below' if 'exclusiveMaximum' in schema else 'to'} {upper}"
    if text == "list" and "items" in schema:
        text = f"list of {values(schema['items'])}"
    return text


def listed(value: Any) -> list[Any]:
    """A list, or its one entry as a list."""
    return value if isinstance(value, list) else [value]


def told(default: Any) -> str:
    """A default as config.yaml has it; ...: it has none."""
    if default is ...:
        return ""
    text = word(default)
    return f"`{text}`" if len(text) <= LONGEST and "\n" not in text else "see config.yaml"


def word(value: Any) -> str:
    """A value as YAML writes it."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def sentence(text: str) -> str:
    """A description as a sentence."""
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    main()
