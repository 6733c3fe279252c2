"""What the user reads of a value that the schema refuses: the key, what it means, what is wrong, and the cure."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jsonschema import ValidationError

from vqaflow.runtime.messages import did_you_mean, nearest

ARTICLED = {
    "object": "a section of keys",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
HOW = {
    "object": "`key: value` lines below it",
    "array": "a list ([x, y])",
    "string": "text (in quotation marks)",
    "integer": "a whole number in digits",
    "number": "a number in digits",
    "boolean": "one of the two",
    "null": "null",
}
EMPTY = {"object": "{}", "array": "[]"}
# The rules of the schema that no general sentence explains: what is wrong with {value}, and the cure.
PATTERNS = {
    "^[a-z][a-z0-9_]*$": "{value} is not a name. Use lower-case letters, digits and _, and begin with a letter.",
    "^none$": "{value} is not a kind of training. Write none, or keys of train below it.",
    "^([1-6]x[2-6]|[2-6]x1)$": "{value} is not rows x columns. Write, for example, 2x2; each is at most 6.",
    "^https://orcid[.]org/[0-9X-]{19}$": "{value} is not an ORCID. Write https://orcid.org/ and 16 digits in fours.",
    "^\\S+$": "{value} is empty or has a space. Write characters without spaces.",
    "^(soft|majority|unanimous|at least [1-9][0-9]*)$": (
        "{value} is unknown. Write soft, majority, unanimous, or `at least 3`."
    ),
}
YES, NO, NOTHING = {"true", "yes", "on", "y"}, {"false", "no", "off", "n"}, {"none", "nil", "n/a", "nan", "~"}
LIMITS = {
    "minimum": "{value} is too small. Write {wanted} or more.",
    "maximum": "{value} is too large. Write {wanted} or less.",
    "exclusiveMinimum": "{value} is too small. Write a number above {wanted}.",
    "exclusiveMaximum": "{value} is too large. Write a number below {wanted}.",
    "minLength": "it is empty. Fill it in.",
    "minItems": "{value} has too few entries. List {wanted} or more.",
    "maxItems": "{value} has too many entries. List {wanted} or fewer.",
    "uniqueItems": "{value} lists an entry twice. List each entry once.",
    "minProperties": "it has no entry. Add one.",
}


def refusals(errors: Iterable[ValidationError], schema: Mapping[str, Any]) -> Iterator[str]:
    """One line per mistake; of a value of the wrong type, only that is told."""
    found = list(errors)
    mistyped = [error.absolute_path for error in found if error.validator == "type"]
    for error in found:
        if error.validator == "type" or error.absolute_path not in mistyped:
            yield from _wording(error, schema)


def _wording(error: ValidationError, schema: Mapping[str, Any]) -> Iterator[str]:
    where, value, wanted = ".".join(map(str, error.absolute_path)), error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        for key in sorted(set(value) - set(known)):
            yield f"{_join(where, key)}: unknown key; {nearest_key(key, known, schema)}"
    elif error.validator == "required":
        for key in wanted:
            if key not in value:
                yield f"{_join(where, key)}: the key is missing. Add it."
    else:
        about = error.schema.get("description")
        yield f"{where}{f' ({about})' if about else ''}: {refusal(error)}"


def refusal(error: ValidationError) -> str:
    """What is wrong with a value, and the cure."""
    validator, value, wanted = str(error.validator), error.instance, error.validator_value
    if validator in ("enum", "oneOf"):
        options = wanted if validator == "enum" else next(part["enum"] for part in wanted if "enum" in part)
        # YAML reads `off` as false, which the schema accepts for it.
        kept = [option for option in options if not (option is False and "off" in options)]
        names = [option if isinstance(option, str) else _shown(option) for option in kept]
        more = "" if validator == "enum" else " A number from 1 to 24 works too."
        cure = did_you_mean(value, names) if isinstance(value, str) else f"use one of {', '.join(names)}."
        return f"{_shown(value)} is unknown; {cure}{more}"
    if validator == "type":
        types = [wanted] if isinstance(wanted, str) else list(wanted)
        kinds = " or ".join(ARTICLED[kind] for kind in types)
        return f"{_shown(value)} is not {kinds}. {_cure(value, types, error.schema.get('minItems', 0))}"
    pattern = LIMITS.get(validator) or PATTERNS[wanted]
    return pattern.format(value=_shown(value), wanted=wanted)


def _shown(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, Mapping):
        return "a section" if value else "an empty section"
    return repr(value) if isinstance(value, str | float) else json.dumps(value, ensure_ascii=False, default=str)


def _cure(value: Any, types: list[str], least: int) -> str:
    """The cure for a value of another type; a list has `least` entries or more."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value):
        return f"Write {re.sub('[eE]', '.0e', value)}: YAML reads a number with an exponent as text if it has no dot."
    if isinstance(value, str) and (meant := meant_value(value, types)):
        return meant
    if isinstance(value, bool) and "string" in types:
        return "Put it in quotation marks, as YAML reads yes, no, on and off as true or false."
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?|true|false|null|\[.*\]", value):
        return (
            "Write it without quotation marks, and in a file for --configfile: "
            "Snakemake passes values inside {…} of --config on as text."
        )
    if value is None and types[0] in EMPTY and not least:
        return f"Write {EMPTY[types[0]]} or fill it in."
    return f"Write {' or '.join(HOW[kind] for kind in types)}."


def meant_value(value: str, types: list[str]) -> str:
    """The cure for text in place of what it plainly means; "" if it means nothing of these types."""
    plain = unicodedata.normalize("NFKC", value).strip().replace("−", "-").replace("–", "-")
    if {"integer", "number"} & set(types):
        if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", plain) and not plain.startswith("0"):
            return f"Write {plain.replace(',', '')}, without commas."
        if re.fullmatch(r"[+-]?\d+,\d+", plain):
            return f"Write {plain.replace(',', '.')}, with a point."
        if found := re.fullmatch(r"([+-]?\d+(?:\.\d+)?) ?%", plain):
            share = f", or {float(found[1]) / 100:g} if it is a share" if "number" in types else ""
            return f"Write {found[1]} without the sign{share}."
        if plain != value and re.fullmatch(r"[+-]?\d+(\.\d+)?", plain):
            return f"Write {plain} in plain digits and signs."
    if "boolean" in types and plain.lower() in YES | NO:
        return f"Write {'true' if plain.lower() in YES else 'false'}, without quotation marks."
    if "null" in types and plain.lower() in NOTHING:
        return "Write null."
    if "array" in types and "," in plain:
        return f"Write [{', '.join(part.strip() for part in plain.split(','))}]."
    if types[0] == "object":
        if re.fullmatch(r"\w+:\S.*", plain):
            return "Put a space after the colon."
        if re.fullmatch(r"\w+ *= *\S.*", plain):
            return "Write a colon and a space in place of =."
    return ""


def nearest_key(key: str, known: list[str], schema: Mapping[str, Any]) -> str:
    """The cure for an unknown key: the same key where it belongs, else the most similar one of its section."""
    if "." in key and key in leaves(schema):
        section, _, inner = key.rpartition(".")
        return f"write `{inner}` below `{section}`, with two spaces before it."
    elsewhere = [path for path in leaves(schema) if path.split(".")[-1] == key]
    if elsewhere and not nearest(key, known, cutoff=0.8):
        return f"did you mean {elsewhere[0]!r}?"
    return did_you_mean(key, known)


def leaves(schema: Mapping[str, Any], prefix: str = "") -> dict[str, Mapping[str, Any]]:
    """Every key of the schema that holds a value, by its dotted path; freely named sections show as ``*``."""
    inner = dict(schema.get("properties", {}))
    if isinstance(schema.get("additionalProperties"), Mapping):
        inner["*"] = schema["additionalProperties"]
    if not inner:
        return {prefix: schema}
    found: dict[str, Mapping[str, Any]] = {}
    for key, part in inner.items():
        found |= leaves(part, f"{prefix}.{key}" if prefix else key)
    return found


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
