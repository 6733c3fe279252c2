"""Locks on files: whatever happens to the process that holds one, the next job gets it, and never two at once."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from places import SCRIPTS
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from vqaflow.runtime.locks import Lease
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
lease = Lease(Path(sys.argv[1]))
assert lease.take(wait=True)
forked, says_so = os.pipe()
child = os.fork() if sys.argv[2:] else None
if child == 0:
    os.write(says_so, b"!")
elif child:
    os.read(forked, 1)
if child != 0:
    print(child, flush=True)
time.sleep(600)
"""


def holder(path, *forks):
    """A process that holds the lock, and the id of its forked child, if it has one."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", HOLDER, str(path), *forks]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    return process, process.stdout.readline().strip()


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("wait", [True, False])
def test_a_process_that_ends_frees_its_lock(tmp_path, death, wait):
    process, _ = holder(tmp_path / "lock")
    assert not Lease(tmp_path / "lock").take()
    process.send_signal(death)
    if not wait:
        process.wait(timeout=30)
    assert Lease(tmp_path / "lock").take(wait)
    process.communicate()


def test_one_holder_at_a_time_and_the_file_stays(tmp_path):
    """A file that a release removes splits those who wait: some lock the old one and some its successor."""
    first, second = Lease(tmp_path / "deep" / "lock"), Lease(tmp_path / "deep" / "lock")
    with first.held():
        number = first.path.stat().st_ino
        assert not second.take()
    assert first.path.stat().st_ino == number
    assert second.take() and not first.take()
    second.release()
    assert first.take()
    with pytest.raises(AssertionError, match="held already"):
        first.take()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    """A worker process may outlive the job that forked it: a child's copy of an open file holds a plain flock."""
    process, child = holder(tmp_path / "lock", "forks")
    process.kill()
    process.wait(timeout=30)
    try:
        assert Lease(tmp_path / "lock").take()
        os.kill(int(child), 0)  # it is still there
    finally:
        os.kill(int(child), signal.SIGKILL)
        process.stdout.close()


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
@pytest.mark.filterwarnings("error")
def test_without_locks_nothing_is_locked_in_another_way(tmp_path, monkeypatch, wait, number):
    """A mere file as a lock would stay behind a killed job, and no other job would ever get past it."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"lock: its file system has no locks \(.*option flock"):
        Lease(tmp_path / "lock").take(wait)


def test_a_file_that_cannot_be_opened_is_no_matter_of_locks(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file") as error:
        Lease(tmp_path / "file" / "lock").take()
    assert error.value.filename is not None and not isinstance(error.value, UserError)
