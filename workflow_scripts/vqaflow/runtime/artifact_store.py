"""A content-addressed store of finished artifacts: what was computed once from equal inputs is copied, not computed.

An entry is stored under the digest of all that it depends on: the bytes of its inputs, its parameters and its code.
`vqaflow store` lists, verifies and prunes it. Entries are copies, never links: a change of an output cannot reach them.
Each is checked against its own digests before use; a damaged one is removed and computed again.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.files import MANIFEST, RANDOM, atomic_folder, atomic_path, read_manifest, sweep, write_manifest
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # it returns the bytes that it was given, checked by their digests
ARTIFACT = "artifact"
# Names that only entries have, even in a folder that was taken for a store by mistake.
HEX = "[0-9a-f]"
PREFIX, KEY = HEX * 2, HEX * 64
REMOVED = "removed"


@dataclass(frozen=True)
class Store:
    """A store in folder `path`, kept under `gb` gigabytes by removing what was used longest ago."""

    path: Path
    gb: float

    def entry(self, key: str) -> Path:
        """The folder of an entry, whether it exists or not."""
        return self.path / key[:2] / key

    def entries(self) -> list[Path]:
        """All entries, the one used longest ago first."""
        found = {folder: _last_use(folder) for folder in self.path.glob(f"{PREFIX}/{KEY}")}
        return sorted(found, key=lambda folder: (found[folder], folder.name))


class Made(NamedTuple):
    """Whether an artifact came from the store, and the seconds that it took when it was computed."""

    from_store: bool
    seconds: float


def cached(store: Store, parts: Mapping[str, Any], out: Path, compute: Callable[[Path], None]) -> Made:
    """Put the artifact that `parts` determine at `out`: from the store, or by `compute` (and then into the store).

    `parts` are plain values that hold the digests of all inputs, the parameters and the code; `compute` writes a file
    (if `out` has a suffix) or fills a folder at the path that it is given, which becomes `out` as a whole. A store that
    cannot be read or written (full disk, lost rights) costs only time.
    """
    key = value_digest(parts)
    if fetch(store, key, out):
        log.info("%s: taken from the store (%s)", out, key[:12])
        return Made(True, read_manifest(store.entry(key)).get("seconds", 0.0))
    began = time.monotonic()
    with (atomic_path if out.suffix else atomic_folder)(out) as partial:
        compute(partial)
    seconds = round(time.monotonic() - began, 1)
    try:
        put(store, key, out, parts, seconds)
    except OSError as error:
        log.warning("%s: not kept in the store (%s)", out, error)
    return Made(False, seconds)


def fetch(store: Store, key: str, out: Path) -> bool:
    """Copy entry `key` to `out` if it is there and whole; remove it if it is damaged.

    Raises OSError if the entry is whole and `out` cannot be written.
    """
    entry = store.entry(key)
    artifact = entry / ARTIFACT
    version = _version(entry)
    if version is None:
        return False
    try:
        with (atomic_folder if artifact.is_dir() else atomic_path)(out) as partial:
            if artifact.is_dir():
                shutil.copytree(artifact, partial, dirs_exist_ok=True)
            else:
                shutil.copyfile(artifact, partial)
            if not is_whole(entry, partial):  # checks the copy, because that is what will be used
                raise OSError("its bytes do not match its manifest")
    except OSError as error:
        whole = is_whole(entry, artifact)
        if _version(entry) != version:  # another job removed or replaced it during the copy
            return False
        if whole:
            raise
        log.warning("store: entry %s was damaged and is removed (%s)", key[:12], error)
        discard(entry)
        return False
    with suppress(OSError):  # a read-only store does not record its use
        os.utime(entry / MANIFEST)
    return True


def _version(entry: Path) -> tuple[int, int] | None:
    """What differs once another job has replaced an entry; None if there is no entry that can be read."""
    try:
        state = entry.stat()
    except OSError:
        return None
    return state.st_ino, state.st_ctime_ns


def is_whole(entry: Path, artifact: Path) -> bool:
    """Whether `artifact` has the bytes listed in the manifest of `entry`, and the manifest has the entry's key."""
    manifest = read_manifest(entry)
    try:
        return [manifest["key"], manifest["files"]] == [entry.name, digests(artifact)]
    except (OSError, KeyError):  # another manifest, or a file that cannot be read
        return False


def digests(artifact: Path) -> dict[str, str]:
    """sha256 of each file of an artifact, by its path within it (``"."`` for a single file)."""
    if artifact.is_file():
        return {".": file_digest(artifact)}
    return {str(p.relative_to(artifact)): file_digest(p) for p in sorted(artifact.rglob("*")) if p.is_file()}


def put(store: Store, key: str, artifact: Path, parts: Mapping[str, Any], seconds: float) -> None:
    """Copy a finished artifact, which took `seconds`, into the store, after removing old entries to make room."""
    room = store.gb - size_of(artifact) / 1e9
    if room < 0:
        log.info("%s: not kept in the store, because it is larger than hardware.store_gb", artifact)
        return
    prune(store, room)
    with atomic_folder(store.entry(key)) as partial:
        if artifact.is_dir():
            shutil.copytree(artifact, partial / ARTIFACT)
        else:
            shutil.copyfile(artifact, partial / ARTIFACT)
        write_manifest(partial, {"key": key, "files": digests(partial / ARTIFACT), "seconds": seconds, "parts": parts})


def size_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files; another job may be removing them meanwhile."""
    total = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _last_use(entry: Path) -> float:
    """When an entry was last put or fetched; 0 without a manifest, so that it is removed first."""
    try:
        return (entry / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0


def prune(store: Store, gb: float) -> int:
    """Remove entries, the longest unused first, until at most `gb` gigabytes are left; returns the number removed."""
    for name in (f".{KEY}.{RANDOM}", f".{REMOVED}.{RANDOM}"):
        sweep(store.path, f"{PREFIX}/{name}")
    entries = store.entries()
    sizes = {entry: size_of(entry) for entry in entries}
    total, removed = sum(sizes.values()), 0
    for entry in entries:
        if total <= gb * 1e9:
            break
        discard(entry)
        total -= sizes[entry]
        removed += 1
    return removed


def discard(entry: Path) -> None:
    """Remove an entry as a whole: none is ever half there under its name."""
    try:
        aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{REMOVED}."))
        os.rename(entry, aside / entry.name)
        shutil.rmtree(aside)
    except OSError as error:  # another job was faster, or the store is read-only
        log.debug("store: %s was not removed (%s)", entry, error)


def verify(store: Store) -> list[str]:
    """Remove damaged entries; returns their keys."""
    damaged = [entry for entry in store.entries() if not is_whole(entry, entry / ARTIFACT)]
    for entry in damaged:
        discard(entry)
    return [entry.name for entry in damaged]


def describe(store: Store) -> Iterator[str]:
    """One line per entry: key, size, last use and what it is; the one used longest ago first."""
    for entry in store.entries():
        try:
            kind = read_manifest(entry)["parts"]["stage"]
        except (KeyError, TypeError):
            kind = "damaged"
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(_last_use(entry)))
        yield f"{entry.name[:12]}  {size_of(entry) / 1e6:10.1f} MB  {used}  {kind}"
