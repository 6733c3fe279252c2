"""What a session hands on to the next one: results, and Snakemake's notes on them, in a folder that is not lost.

Each file lies under the digest of its bytes, files/ab/abcd…, and kept.json names it, with its time: services that carry
folders from session to session lose times, and some lose hidden files. kept.json is replaced as the last step, and what
it named before is removed after that. So the folder is whole at every moment, also if the machine is lost while it is
written.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import RANDOM, parse_json, write_json
from vqaflow.runtime.output_records import OUTPUTS, records_in
from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # it carries bytes from place to place, checked by their digests
LIST, FILES = "kept.json", "files"
RESULTS, NOTES = "results", (".snakemake/metadata", ".snakemake/incomplete")
# Features of images, which are large, and made again from the images.
LEFT_OUT = ("results/work/vision",)
UNFINISHED = re.compile(rf"\..+\.{RANDOM}(\.[^.]+)?")  # names of runtime.files.atomic_path and atomic_folder
DIGEST = re.compile(r"[0-9a-f]{64}")
UNDER_WAY = Path(".snakemake/bringing_back")  # is there while files are brought back: a killed one begins anew
ROUNDS = 5  # a copy is made again if jobs began or ended meanwhile, at most so often
BLOCK = 2**20


@dataclass(frozen=True)
class Entry:
    """A kept file: its sha256, bytes, and time of change in nanoseconds since 1970."""

    digest: str
    size: int
    changed: int


@dataclass
class Kept:
    """What lies in a kept folder: entries by path, and folders that are empty."""

    entries: dict[str, Entry] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    @property
    def gigabytes(self) -> float:
        """The size of its files; equal ones lie there once."""
        return sum({entry.digest: entry.size for entry in self.entries.values()}.values()) / 1e9

    def __str__(self) -> str:
        return f"{len(self.entries)} files, {self.gigabytes:.3f} GB"


def is_kept(folder: Path) -> bool:
    """Whether a session has kept something there."""
    return (folder / LIST).is_file()


def read_kept(folder: Path) -> Kept:
    """The list of a kept folder. Raises UserError if it cannot be read, or names a file outside of a run's own."""
    try:
        found = parse_json((folder / LIST).read_text(encoding="utf-8"))
        entries = {path: Entry(**entry) for path, entry in found["files"].items()}
        wrong = [path for path in (*entries, *found["empty"]) if not _is_of_a_run(path)]
        wrong += [path for path, entry in entries.items() if not DIGEST.fullmatch(entry.digest)]
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UserError(f"{folder / LIST}: is damaged. Give another folder.") from None
    if wrong:
        raise UserError(
            f"{folder / LIST}: names {wrong[0]!r}, which no run writes. Give a folder of your own sessions."
        )
    return Kept(entries, found["empty"])


def _is_of_a_run(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return ".." not in parts and path.startswith((f"{RESULTS}/", *(f"{name}/" for name in NOTES)))


def keep(place: Path, folder: Path, is_called_off: Callable[[], bool] = lambda: False) -> Kept | None:
    """Bring the kept folder to the state of the run in `place`, whose jobs may be at work; returns what is kept.

    None, with the folder as it was before, if it is called off, or if jobs begin and end faster than files are copied.
    """
    before = read_kept(folder) if is_kept(folder) else Kept()
    for _ in range(ROUNDS):
        notes = _state(place)
        kept = Kept()
        # Notes first: with older notes than its outputs a job runs again, with newer ones it would not.
        for name in (*NOTES, RESULTS):
            for path in _files(place / name, kept, place):
                if is_called_off():
                    return None
                shown = path.relative_to(place).as_posix()
                if entry := _store(path, folder, before.entries.get(shown)):
                    kept.entries[shown] = entry
        before = Kept(before.entries | kept.entries)
        if _state(place) == notes:
            break
    else:
        return None
    listed = {path: vars(entry) for path, entry in sorted(kept.entries.items())}
    write_json(folder / LIST, {"files": listed, "empty": sorted(kept.empty)})
    _remove_others(folder, {entry.digest for entry in kept.entries.values()})
    return kept


def _state(place: Path) -> dict[str, int]:
    """What changes when a job begins or ends: Snakemake's notes."""
    found = {}
    for name in NOTES:
        for path in _files(place / name, Kept(), place):
            try:
                found[str(path)] = path.stat().st_mtime_ns
            except OSError:
                found[str(path)] = 0
    return found


def _files(folder: Path, kept: Kept, place: Path) -> Iterator[Path]:
    """The files below a folder, but for unfinished ones; empty folders are noted in `kept`."""
    for top, folders, files in os.walk(folder, followlinks=True):
        shown = Path(top).relative_to(place).as_posix()
        folders[:] = [name for name in folders if f"{shown}/{name}" not in LEFT_OUT and not UNFINISHED.fullmatch(name)]
        if not folders and not files and Path(top) != folder:
            kept.empty.append(shown)
        yield from (Path(top, name) for name in sorted(files) if not UNFINISHED.fullmatch(name))


def _store(path: Path, folder: Path, before: Entry | None) -> Entry | None:
    """Have the bytes of a file in the kept folder; None if it is gone."""
    for _ in range(ROUNDS):
        try:
            state = path.stat()
            size, changed = state.st_size, state.st_mtime_ns
            is_same = before is not None and (before.size, before.changed) == (size, changed)
            if is_same and object_of(folder, before.digest).is_file():
                return before
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if not object_of(folder, digest).is_file():
                digest = _copy(path, folder)
            after = path.stat()
        except FileNotFoundError:
            return None
        if (after.st_size, after.st_mtime_ns) == (size, changed):
            break
    return Entry(digest, size, changed)


def object_of(folder: Path, digest: str) -> Path:
    """Where the bytes with this digest lie."""
    return folder / FILES / digest[:2] / digest


def _copy(path: Path, folder: Path) -> str:
    """Copy a file into the kept folder; returns the digest of the bytes that were copied."""
    with path.open("rb") as source:
        (folder / FILES).mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder / FILES, prefix="copying.")
        digest = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as target:
                while block := source.read(BLOCK):
                    digest.update(block)
                    target.write(block)
            stored = object_of(folder, digest.hexdigest())
            stored.parent.mkdir(exist_ok=True)
            os.replace(name, stored)
        finally:
            Path(name).unlink(missing_ok=True)
    return digest.hexdigest()


def _remove_others(folder: Path, digests: set[str]) -> None:
    """Remove what the list does not name, and what a lost machine has left half-copied."""
    for path in (folder / FILES).glob("*/*"):
        if DIGEST.fullmatch(path.name) and path.name not in digests:
            path.unlink(missing_ok=True)
    for path in (folder / FILES).glob("copying.*"):
        path.unlink(missing_ok=True)


def is_fresh(place: Path) -> bool:
    """Whether no run has written anything in `place` yet."""
    if (place / UNDER_WAY).exists():
        return True
    found = (path for name in (RESULTS, *NOTES) for path in _files(place / name, Kept(), place))
    return all(path.name == ".gitkeep" for path in found)


def bring_back(folder: Path, place: Path) -> list[str]:
    """Put what is kept in `folder` where the run in `place` had it; returns the paths of damaged or lost files.

    These are left out, and the run makes them again.
    """
    kept, lost = read_kept(folder), []
    (place / UNDER_WAY).parent.mkdir(parents=True, exist_ok=True)
    (place / UNDER_WAY).touch()
    for name in kept.empty:
        (place / name).mkdir(parents=True, exist_ok=True)
    for name, entry in kept.entries.items():
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _copy_whole(object_of(folder, entry.digest), target, entry.digest):
            lost.append(name)
            continue
        os.utime(target, ns=(entry.changed, entry.changed))
    if lost:
        _have_made_again(place, lost)
    (place / UNDER_WAY).unlink()
    if lost:
        log.warning("%s: %d files are damaged or lost, such as %s; they are made again", folder, len(lost), lost[0])
    return lost


def _have_made_again(place: Path, lost: Sequence[str]) -> None:
    """Remove all outputs of the jobs that made lost files: Snakemake does not look into folders."""
    results = place / RESULTS
    for record in records_in(results):
        outputs = parse_json(record.read_text(encoding="utf-8"))[OUTPUTS]
        if any(f"{RESULTS}/{name}" in lost for name in outputs):
            for name in outputs:
                (results / name).unlink(missing_ok=True)


def _copy_whole(source: Path, target: Path, digest: str) -> bool:
    """Copy a file if its bytes are those of `digest`; returns whether they are."""
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError:
        return False
    with target.open("rb") as file:
        is_whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
    if not is_whole:
        target.unlink()
    return is_whole
