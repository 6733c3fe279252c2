"""A content-addressed store of finished artifacts: what was computed once from equal inputs is copied, not computed.

An entry lies under the digest of everything that it depends on: the bytes of its inputs, its parameters and its code.
`python -m vqaflow.store --help` lists, checks and prunes it. Entries are copies, never links, so that nothing done to
an output can reach them, and each is checked against its own digests before use: a damaged one is removed and computed
again.
"""

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqaflow.errors import UserError
from vqaflow.files import atomic_folder, atomic_path, file_digest, value_digest, write_json
from vqaflow.progress import log, stage

MANIFEST, ARTIFACT = "manifest.json", "artifact"


@dataclass(frozen=True)
class Store:
    """A store in folder `path`, kept under `gb` gigabytes by dropping what was used longest ago."""

    path: Path
    gb: float

    def entry(self, key: str) -> Path:
        """The folder of an entry, there or not."""
        return self.path / key[:2] / key

    def entries(self) -> Iterator[Path]:
        """All entries, the one used longest ago first."""
        found = [folder for folder in self.path.glob("??/*") if (folder / MANIFEST).is_file()]
        return iter(sorted(found, key=lambda folder: (folder / MANIFEST).stat().st_mtime))


def cached(store: Store, parts: Mapping[str, Any], out: Path, compute: Callable[[Path], None]) -> bool:
    """Put the artifact that `parts` determine at `out`: from the store, or by `compute` (and then into the store).

    `parts` are plain values that hold the digests of all inputs, the parameters and the code; `compute` writes a file
    or a folder to the path that it is given, which becomes `out` as a whole. Says whether the store had it. A store
    that
    cannot be read or written (full disk, lost rights) costs time, never the result.
    """
    key = value_digest(parts)
    if fetch(store, key, out):
        log.info("%s: taken from the store (%s)", out, key[:12])
        return True
    is_folder = not out.suffix
    with (atomic_folder if is_folder else atomic_path)(out) as partial:
        compute(partial)
    try:
        put(store, key, out, parts)
    except OSError as error:
        log.warning("%s: not kept in the store (%s)", out, error)
    return False


def fetch(store: Store, key: str, out: Path) -> bool:
    """Copy entry `key` to `out` if it is there and whole; remove it if it is damaged."""
    entry = store.entry(key)
    if not (entry / MANIFEST).is_file():
        return False
    try:
        artifact = entry / ARTIFACT
        with (atomic_folder if artifact.is_dir() else atomic_path)(out) as partial:
            if artifact.is_dir():
                shutil.copytree(artifact, partial, dirs_exist_ok=True)
            else:
                shutil.copyfile(artifact, partial)
            if not is_whole(entry, key, partial):  # the copy is what is checked: it is what will be used
                raise DamagedEntry(key)
        os.utime(entry / MANIFEST)
    except (OSError, ValueError) as error:
        log.warning("store: entry %s is damaged and removed (%s)", key[:12], error)
        shutil.rmtree(entry, ignore_errors=True)
        return False
    return True


class DamagedEntry(ValueError):
    """An entry whose bytes are not those of its manifest."""


def is_whole(entry: Path, key: str, artifact: Path) -> bool:
    """Whether `artifact` has the bytes that the manifest of `entry` promises for `key`."""
    manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
    return manifest.get("key") == key and manifest.get("files") == digests(artifact)


def digests(artifact: Path) -> dict[str, str]:
    """sha256 of each file of an artifact, by its path within it (``"."`` for a single file)."""
    if artifact.is_file():
        return {".": file_digest(artifact)}
    return {str(p.relative_to(artifact)): file_digest(p) for p in sorted(artifact.rglob("*")) if p.is_file()}


def put(store: Store, key: str, artifact: Path, parts: Mapping[str, Any]) -> None:
    """Copy a finished artifact into the store, then drop what no longer fits."""
    with atomic_folder(store.entry(key)) as partial:
        if artifact.is_dir():
            shutil.copytree(artifact, partial / ARTIFACT)
        else:
            shutil.copyfile(artifact, partial / ARTIFACT)
        write_json(partial / MANIFEST, {"key": key, "files": digests(partial / ARTIFACT), "parts": parts})
    prune(store, store.gb, keep=key)


def size_of(entry: Path) -> int:
    """Bytes of an entry's files."""
    return sum(p.stat().st_size for p in entry.rglob("*") if p.is_file())


def prune(store: Store, gb: float, keep: str = "") -> int:
    """Remove entries, the longest unused first, until at most `gb` gigabytes stay; returns how many went."""
    entries = list(store.entries())
    sizes = {entry: size_of(entry) for entry in entries}
    total, removed = sum(sizes.values()), 0
    for entry in entries:
        if total <= gb * 1e9:
            break
        if entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)
            total -= sizes[entry]
            removed += 1
    return removed


def verify(store: Store) -> list[str]:
    """Keys of damaged entries, which are removed."""
    damaged = []
    for entry in store.entries():
        try:
            whole = is_whole(entry, entry.name, entry / ARTIFACT)
        except (OSError, ValueError):
            whole = False
        if not whole:
            damaged.append(entry.name)
            shutil.rmtree(entry, ignore_errors=True)
    return damaged


def main() -> None:
    """List, verify or prune the store."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.store", description=__doc__)
    parser.add_argument("action", choices=["list", "verify", "prune"])
    parser.add_argument("--store", type=Path, default=Path("results/store"), help="its folder (default: %(default)s)")
    parser.add_argument("--gb", type=float, help="prune: gigabytes to keep at most")
    arguments = parser.parse_args()
    store = Store(arguments.store, arguments.gb or 0.0)
    with stage(None):
        if arguments.action == "prune":
            if arguments.gb is None:
                raise UserError("prune: how much may stay? Give --gb.")
            print(f"{prune(store, arguments.gb)} entries removed")
        elif arguments.action == "verify":
            damaged = verify(store)
            print(f"{len(damaged)} damaged entries removed", *damaged, sep="\n")
        else:
            for entry in store.entries():
                parts = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))["parts"]
                print(f"{entry.name[:12]}  {size_of(entry) / 1e6:10.1f} MB  {parts.get('stage', '')}")


if __name__ == "__main__":
    main()
