"""Long work shows a bar in a terminal, and lines that can be read where there is none."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from places import SCRIPTS
from vqaflow.runtime.run_watch import HOURS_LEFT

WORK = """
import time
from vqaflow.runtime import progress
from vqaflow.runtime.stage import stage

progress.SECONDS_BETWEEN_LINES = 0.4
progress.SECONDS_BETWEEN_LOGGED_PROGRESS = 0.1
with stage("a.log"):
    with progress.ProgressBar(6, "score main", "row") as bar:
        for i in range(6):
            time.sleep({pause})
            bar.advance(1, loss=0.5)
"""


def started(folder, pause: float, **streams) -> subprocess.Popen:
    """A job of a run that has some time left."""
    (folder / "hours_left.txt").write_text("run 3/9, about 2 min left", encoding="utf-8")
    script = folder / "work.py"
    script.write_text(WORK.format(pause=pause), encoding="utf-8")
    environment = os.environ | {HOURS_LEFT: str(folder / "hours_left.txt"), "PYTHONPATH": str(SCRIPTS), "TERM": "xterm"}
    return subprocess.Popen([sys.executable, str(script)], cwd=folder, env=environment, **streams)


@pytest.mark.parametrize(("pause", "at_least", "at_most"), [(0.3, 3, 6), (0.0, 0, 0)])
def test_a_pipe_gets_whole_lines(tmp_path, pause, at_least, at_most):
    """A bar that is drawn over itself fills a notebook's log with one line of a megabyte."""
    work = started(tmp_path, pause, stderr=subprocess.PIPE, text=True)
    printed = work.communicate()[1]
    bars = [line for line in printed.splitlines() if "score main" in line]
    assert work.returncode == 0 and "\r" not in printed and "\x1b" not in printed
    assert at_least <= len(bars) <= at_most and re.search(r" I done \(\d+ s\)\n$", printed)
    assert "run 3/9" not in printed  # the run's own lines say it there
    if bars:
        assert all(re.match(r"\d\d:\d\d:\d\d I score main: ", line) for line in bars)
        assert "6/6" in bars[-1] and "loss=0.5" in bars[-1]
    assert "6/6" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_a_terminal_gets_a_bar(tmp_path):
    """One line that moves, and the log file the state in lines of its own."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    work = started(tmp_path, 0.3, stderr=writing)
    os.close(writing)
    printed = b""
    try:
        while part := os.read(reading, 4096):
            printed += part
    except OSError:  # the other end is closed
        pass
    os.close(reading)
    assert work.wait() == 0 and printed.count(b"\rscore main") > 2
    assert b"I score main" not in printed and b"loss=0.5, run 3/9, about 2 min left]" in printed
    log = (tmp_path / "a.log").read_bytes()
    assert b"I score main" in log and b"\r" not in log and b"run 3/9" not in log
