"""Locks that processes hold on files: the kernel frees them when the process ends, in whatever way."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from vqaflow.runtime.errors import UserError

NOT_IN_DIGESTS = True  # waiting for others decides no result
MOUNTS = Path("/proc/mounts")
# Mount options that keep the locks of a network's file system to one machine (nfs(5), mount.lustre(8)).
LOCAL_ONLY = {"nolock", "local_lock=all", "local_lock=flock", "local_lock=posix", "localflock"}


class Lease:
    """An exclusive lock on a file, until it is released or the process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock if it is free, or after waiting for it; says whether it was taken.

        Raises UserError on a file system without locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            file.close()
            raise UserError(
                f"{self.path}: its file system has no locks ({error.strerror}), which jobs that share it need. "
                "Let it be mounted with them (Lustre: option flock), or run in a folder of another file system."
            ) from None
        self.file = file
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a while, after whoever holds it now."""
        self.take(wait=True)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock back."""
        assert self.file is not None
        self.file.close()
        self.file = None


def locks_are_local(folder: Path, mounts: str | None = None) -> bool:
    """Whether other machines that share `folder` cannot see the locks that are taken in it here.

    `mounts` is the text of /proc/mounts; where there is none, nothing is known and the answer is no.
    """
    if mounts is None:
        mounts = MOUNTS.read_text(encoding="utf-8") if MOUNTS.exists() else ""
    options_of = {}
    for line in mounts.splitlines():  # the last mount at a point is the one that is seen
        _, point, _, options, *_ = line.split(" ")
        options_of[Path(point.replace(r"\040", " "))] = set(options.split(","))
    holding = [point for point in options_of if folder.resolve().is_relative_to(point)]
    return bool(holding) and bool(options_of[max(holding, key=lambda point: len(point.parts))] & LOCAL_ONLY)
