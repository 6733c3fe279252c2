"""JSON that somebody gave: text that cannot be read ends in one kind of error."""

import json
from typing import Any


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none, also for lists within lists without an end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
