"""Digests of files and of plain values."""

import hashlib
import json
from pathlib import Path


def file_digest(path: Path | str) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_digest(value: object) -> str:
    """sha256 of a plain value (numbers, strings, lists, dicts), independent of the order of dict keys."""
    return text_digest(value_text(value))


def value_text(value: object) -> str:
    """The one line of JSON that `value_digest` digests."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def text_digest(text: str) -> str:
    """sha256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
