"""Files that are never half-written, manifests of folders, and JSON that somebody gave."""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
SECONDS_TO_LEFTOVER = 24 * 3600
BYTES_OF_FULL_DISK = 2**20  # a disk with less space left counts as full
RANDOM = "[a-z0-9_]" * 8  # how tempfile names its files; an editor's .name.swp does not match


@contextmanager
def atomic_path(target: Path | str, sweeping: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it takes the target's name, on an error it is removed.

    An older target stays until the new file is complete and on the disk. `sweeping` removes what killed jobs left of
    this target; a caller that writes many files into one folder sweeps the folder once itself.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if sweeping:
        sweep(target.parent, f".{escape(target.name)}.{RANDOM}{escape(target.suffix)}")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        with _naming_full_disk(target):
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.chmod(0o666 & ~current_umask())
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path | str) -> Iterator[Path]:
    """Like `atomic_path` for a folder: an older folder under the target's name is replaced as a whole."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    for middle in (".", ".old."):
        sweep(target.parent, f".{escape(target.name)}{middle}{RANDOM}")
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    partial.chmod(0o777 & ~current_umask())
    try:
        with _naming_full_disk(target):
            yield partial
            for path in partial.rglob("*"):  # some libraries let only the owner read
                path.chmod((0o777 if path.is_dir() else 0o666) & ~current_umask())
            if target.exists():
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
                os.rename(target, old / target.name)
                os.rename(partial, target)
                shutil.rmtree(old)
            else:
                os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _naming_full_disk(target: Path) -> Iterator[None]:
    """Make a full disk raise an OSError that names `target`: the original error names a temporary file, or none.

    Libraries in Rust report a full disk only in the message; PyTorch reports another error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(target)
        raise
    except Exception as error:
        reported = f"os error {errno.ENOSPC}" in str(error)
        if reported or (isinstance(error, RuntimeError) and shutil.disk_usage(target.parent).free < BYTES_OF_FULL_DISK):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        raise


def sweep(folder: Path, pattern: str) -> None:
    """Remove from `folder` what jobs left that were killed while writing, if it is older than a day."""
    for leftover in folder.glob(pattern):
        try:
            if time.time() - leftover.stat().st_mtime < SECONDS_TO_LEFTOVER:
                continue
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        except OSError:  # another job removed it first, or another user owns it
            continue


def current_umask() -> int:
    """The process's file-mode mask: mkstemp ignores it, but outputs should be as readable as other files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(target: Path | str, text: str) -> None:
    """Write UTF-8 text with LF line ends, atomically."""
    with atomic_path(target) as partial:
        partial.write_bytes(text.encode("utf-8"))


def write_json(target: Path | str, value: object) -> None:
    """Write `value` as indented JSON with sorted keys, atomically; NaN and infinities are refused."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none, also for lists within lists without an end."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def write_manifest(folder: Path, contents: dict[str, Any]) -> None:
    """Say in `folder`, which is written as a whole, what it must contain, so that a damaged one is found before use."""
    write_json(folder / MANIFEST, contents)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`; empty if it is missing or not a JSON object."""
    try:
        contents = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return contents if isinstance(contents, dict) else {}
