"""Locks that processes hold on files: the kernel frees them when the process ends, in whatever way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vqaflow.runtime.errors import UserError

NOT_IN_DIGESTS = True  # waiting for others decides no result
MOUNTS = Path("/proc/mounts")
# Mount options that keep the locks of a network's file system to one machine (nfs(5), mount.lustre(8)).
LOCAL_ONLY = {"nolock", "local_lock=all", "local_lock=flock", "local_lock=posix", "localflock"}


class Lease:
    """An exclusive lock on a file, until it is released or the process ends. The file itself stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Where the file system has no locks, filelock would otherwise fall back to a mere file, which a killed process
        # leaves behind. thread_local: the lease belongs to this object, whichever thread releases it.
        self._lock = FileLock(path, fallback_to_soft=False, thread_local=False)

    def take(self, wait: bool = False) -> bool:
        """Take the lock if it is free, or after waiting for it; returns whether it was taken.

        Raises UserError on a file system without locks.
        """
        assert not self._lock.is_locked, f"{self.path} is held already"
        try:
            self._lock.acquire(blocking=wait)
        except Timeout:
            return False
        except OSError as error:
            if error.filename is not None:  # the file cannot be opened, which has nothing to do with locks
                raise
            raise UserError(
                f"{self.path}: its file system has no locks ({error.strerror}), which jobs that share it need. "
                "Mount it with locks (Lustre: option flock), or run in a folder on another file system."
            ) from None
        return True

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock and hold it in the block."""
        self.take(wait=True)
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Give the lock back."""
        assert self._lock.is_locked, f"{self.path} is not held"
        self._lock.release()


@contextmanager
def only_job(path: Path | None, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock `path` in the block, so that one process at a time does this job (None: no lock).

    If Snakemake is killed, its job works on, and a new run starts the same one: it waits here, after `say` was told for
    what. Without locks on the file system, it does not wait.
    """
    lease = None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lease = Lease(path)
        with suppress(UserError):
            if not lease.take():
                say(
                    f"waiting for {holder_of(path)}, which does this job already: a killed run has left it, or another "
                    "run goes on. If it hangs, end it (kill)"
                )
                lease.take(wait=True)
    try:
        yield
    finally:
        if lease is not None and lease.is_held:
            lease.release()


def holder_of(path: Path, locks: Path = Path("/proc/locks")) -> str:
    """The process that holds a lock on a file, in words."""
    number = str(path.stat().st_ino)
    for line in locks.read_text(encoding="utf-8").splitlines() if locks.exists() else ():
        fields = line.split()
        if "->" not in fields and fields[5].rpartition(":")[2] == number:
            return f"process {fields[4]}"
    return "another process"


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
