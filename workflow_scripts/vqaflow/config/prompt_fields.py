"""The fields of config's prompt texts, such as {question}: which there are, and how they are filled in.

A field is a name in single braces; doubled braces around one are text: {{name}} shows {name}. Other braces, such as
those of JSON with its quotation marks, are text as they stand.
"""

import re
from collections.abc import Mapping

# What str.format would take for a field: a name or number, maybe with an attribute, index, conversion or format.
NAMED = r"\s*\w*(?:[.\[!:][^{}\"'\n]*)?\s*"
FIELD = re.compile(rf"\{{\{{(?P<text>{NAMED})\}}\}}|\{{(?P<name>{NAMED})\}}")


def fields(text: str) -> list[str]:
    """What stands in single braces in a prompt text, in its order."""
    return [match["name"] for match in FIELD.finditer(text) if match["name"] is not None]


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its fields replaced by `values`, and doubled braces by single ones.

    The values are text: fields in them stay. Every field has a value (prompt_check.prompt_problems).
    """
    return FIELD.sub(lambda match: f"{{{match['text']}}}" if match["name"] is None else values[match["name"]], text)


def split_at(text: str, name: str) -> tuple[str, str]:
    """What stands before and after the only field `name`."""
    match = next(match for match in FIELD.finditer(text) if match["name"] == name)
    return text[: match.start()], text[match.end() :]
