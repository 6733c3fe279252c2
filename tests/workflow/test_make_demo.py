"""`make demo` clears what a killed one left, and never a lock that another run holds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow_world import prepare_make

# Without the trap Bash goes on if a SIGINT comes just when a sleep has ended by itself.
WAITING = """
rule all:
    output: "done"
    shell: "trap 'exit 130' INT; touch begun; until [ -e go ]; do sleep 0.1; done; touch done"
"""
LOCK = ".snakemake/locks/0.output.lock"
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))


class Demo:
    """A folder with the Makefile and a workflow that waits for the file `go`; `begun` are the runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.begun = folder, []
        prepare_make(folder)
        (folder / "Snakefile").write_text(WAITING)

    def begin(self, *command: str, sign: str) -> subprocess.Popen:
        """Start a command in a process group of its own, and wait until the file `sign` is there."""
        run = subprocess.Popen(
            command,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
        )
        self.begun.append(run)
        end = time.monotonic() + 60
        while not (self.folder / sign).exists():
            assert run.poll() is None and time.monotonic() < end, sign
            time.sleep(0.02)
        return run

    def kill(self, run: subprocess.Popen) -> None:
        """End a run with all of its jobs, without a chance to say goodbye."""
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate(timeout=60)

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """A command's end and what it printed."""
        return subprocess.run(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        )


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A folder for `make demo`, in which nothing runs on after the test."""
    world = Demo(tmp_path)
    yield world
    for run in world.begun:
        if run.poll() is None:
            world.kill(run)


def test_a_killed_demo_goes_on(demo) -> None:
    """After a crash or a scheduler's SIGKILL the README's one command must do, without a word on locks."""
    demo.kill(demo.begin("make", "demo", sign=LOCK))
    assert list((demo.folder / ".snakemake/locks").glob("*.lock"))
    (demo.folder / "go").touch()
    again = demo.run("make", "demo")
    assert again.returncode == 0 and (demo.folder / "done").exists(), again.stdout
    assert not (demo.folder / ".snakemake/locks").exists()


@pytest.mark.parametrize("before", ["nothing", "a killed demo", "a demo that failed", "an interrupted demo"])
def test_a_live_run_of_another_terminal_keeps_its_lock(demo, before) -> None:
    """Two runs that write one set of results at the same time would mix them, in silence."""
    if before == "a killed demo":  # of which the user has cleaned up by hand
        demo.kill(demo.begin("make", "demo", sign=LOCK))
        assert demo.run(SNAKEMAKE, "--unlock").returncode == 0
    elif before == "a demo that failed":  # at a bad setting
        (demo.folder / "Snakefile").write_text('raise WorkflowError("a bad setting")\n')
        assert demo.run("make", "demo").returncode != 0
        (demo.folder / "Snakefile").write_text(WAITING)
    elif before == "an interrupted demo":
        run = demo.begin("make", "demo", sign="begun")
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=60)
    other = demo.begin(SNAKEMAKE, "--cores", "1", sign=LOCK)
    refused = demo.run("make", "demo")
    assert refused.returncode != 0 and "cannot be locked" in refused.stdout, refused.stdout
    (demo.folder / "go").touch()
    told = other.communicate(timeout=60)[0]
    assert other.returncode == 0 and (demo.folder / "done").exists(), told


def test_a_second_demo_is_refused(demo) -> None:
    """It must not take the first one's lock for a killed demo's."""
    first = demo.begin("make", "demo", sign=LOCK)
    second = demo.run("make", "demo")
    assert second.returncode != 0 and "make demo is already running here" in second.stdout
    (demo.folder / "go").touch()
    assert first.wait(timeout=60) == 0
