"""Whether an image was changed since the tables were made: a picture replaced under its name is found by itself.

tables/images.json says which bytes each image had (sha256; "" for a file that was not there), and under which `state`
of the images the tables were made. Snakemake compares the state, as a param of validate_tables, with the one that is
now. It is read while the workflow is parsed, of 100,000 images too: size and time of a file tell in a moment that it is
as before, and only files whose time differs are read. So a copy of the folder, or `touch`, changes nothing.
"""

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.files import write_text

FIRST = "images: as first read"  # the state without earlier tables
SETTLED_NS = 2_000_000_000  # a file changed less long ago may change again within one tick of its time


def images_state(record: Path, times: Path) -> str:
    """The state of the images: that of the record as long as all have the same bytes, else one that tells what has.

    `times` is a cache of sizes and times at which images had the record's bytes; what is learned is added to it.
    """
    said, known = _json(record), _json(times)
    images = said.get("images")
    if not isinstance(images, dict):
        return FIRST
    changed, learned, now = {}, {}, time.time_ns()
    for path, sha256 in images.items():
        stamp = stamp_of(path)
        if stamp is not None and known.get(path) == stamp:
            continue
        if (found := bytes_of(path)) != sha256:
            changed[path] = found
        elif stamp is not None and stamp[1] < now - SETTLED_NS:
            learned[path] = stamp
    if learned:
        with suppress(OSError):  # a folder that cannot be written is only slower
            _write(times, known | learned)
    return f"images: changed {value_digest([said['state'], changed])}" if changed else said["state"]


def record_images(seen: Mapping[str, str], state: str, began_ns: int, record: Path, times: Path) -> None:
    """Write the record of the images that were `seen` (sha256 by path) by a job that began at `began_ns` in `state`."""
    images = {portable(path): sha256 for path, sha256 in seen.items()}
    _write(record, {"state": state, "images": images})
    stamps = {path: stamp for path in images if (stamp := stamp_of(path)) and stamp[1] < began_ns - SETTLED_NS}
    _write(times, stamps)


def portable(path: str) -> str:
    """The path from the working directory, if it is in there: a copy of the folder elsewhere has the same."""
    inside = os.path.relpath(path)
    return path if inside.startswith(os.pardir) else inside


def stamp_of(path: str) -> list[int] | None:
    """Size and time of change of a file (ns); None if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def bytes_of(path: str | Path) -> str:
    """The sha256 of a file, "" if there is none that can be read."""
    try:
        return file_digest(path)
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """JSON with an image per line: one of 100,000 is read in a tenth of a second."""
    write_text(path, json.dumps(value, sort_keys=True, ensure_ascii=False, indent=0) + "\n")
