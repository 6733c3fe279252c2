"""Where an export goes: never over a file or a folder that the user did not mean to lose."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import atomic_folder, atomic_path, write_json

NOTE = "vqaflow-export.json"  # tells a folder that an export has written from any other


def require_free(path: Path, force: bool) -> None:
    """Raise UserError if there is a file at `path` and `force` does not allow to replace it."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Name a file.")
    if path.exists() and not force:
        raise UserError(f"{path}: exists. Name another file, or add --force to replace it.")


@contextmanager
def export_folder(out: Path, kind: str, force: bool) -> Iterator[Path]:
    """Yield a new folder that takes the name `out` when it is complete.

    Raises UserError if something else than an empty folder is there; with `force`, an earlier export is replaced.
    """
    if out.is_file() or out.is_symlink():
        raise UserError(f"{out}: is a file or a link. Name a new folder.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / NOTE).is_file():
            raise UserError(f"{out}: is not empty, and no export has written it. Name a new folder.")
        if not force:
            raise UserError(f"{out}: has an export. Name another folder, or add --force to replace it.")
    with atomic_folder(out) as partial:
        write_json(partial / NOTE, {"kind": kind})
        yield partial


def write_lines(target: Path, entries: Iterable[Mapping[str, Any]]) -> int:
    """Write JSON Lines, one entry per line, in UTF-8; returns their number."""
    count = 0
    with atomic_path(target) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for entry in entries:
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def name_from(out: Path) -> str:
    """The name of an export's data sets or tasks, from its folder: lower case, digits and underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", out.resolve().name.casefold()).strip("_")
    return name or "vqaflow"
