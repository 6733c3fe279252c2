"""manifest.json: what a folder that is written as a whole must contain, so that a damaged one is found before use."""

import json
from pathlib import Path
from typing import Any

from vqaflow.runtime.files import write_json

MANIFEST = "manifest.json"


def write_manifest(folder: Path, contents: dict[str, Any]) -> None:
    """Write the manifest of `folder`."""
    write_json(folder / MANIFEST, contents)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`; empty if it is missing or not a JSON object."""
    try:
        contents = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) else {}
