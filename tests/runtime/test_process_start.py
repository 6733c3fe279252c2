"""Processes of jobs and commands start without looking for garbage, and end without losing anything."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from places import SCRIPTS
from vqaflow.runtime.process_start import importing

# A job in whose last moment there is a thread that writes, something to do at the end, and a line without a line break.
ENDING = """
import atexit, sys, threading, time
from pathlib import Path
from vqaflow.runtime.process_start import end_process

def write():
    time.sleep(0.3)
    Path("thread").write_text("written")

atexit.register(lambda: Path("at_exit").write_text("done"))
threading.Thread(target=write).start()
print("the last line", end="")
end_process(int(sys.argv[1]))
"""
SCRIPT = """
from types import SimpleNamespace
from vqaflow.runtime.stage import log, stage
import atexit
snakemake = SimpleNamespace(wildcards={})
atexit.register(print, "the end")
with stage("job.log", []):
    log.info("at work")
    if FAILS:
        raise RuntimeError("broken")
print("taken apart by Python")
"""


def ran(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess:
    """What Python does with a script in `folder`."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.parametrize("status", [0, 3])
def test_nothing_is_lost_at_the_end(tmp_path: Path, status: int) -> None:
    """A thread's file, a temporary folder's removal or the last line of the output would be missing."""
    done = ran(tmp_path, ENDING, str(status))
    assert (done.returncode, done.stdout) == (status, "the last line"), done.stderr
    assert (tmp_path / "thread").read_text() == "written" and (tmp_path / "at_exit").read_text() == "done"


def test_a_job_ends_with_its_stage(tmp_path: Path) -> None:
    """Taking its libraries apart would cost each job seconds; its log is complete all the same."""
    done = ran(tmp_path, f"FAILS = False\n{SCRIPT}")
    assert (done.returncode, done.stdout) == (0, "the end\n"), done.stderr
    lines = (tmp_path / "job.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["at work", "done (0 s)"]


def test_a_job_that_fails_says_so(tmp_path: Path) -> None:
    """The status is what Snakemake goes by."""
    done = ran(tmp_path, f"FAILS = True\n{SCRIPT}")
    assert done.returncode == 1 and "broken" in done.stderr


def test_a_session_that_imports_snakemake_goes_on(tmp_path: Path) -> None:
    """A notebook that calls a stage would lose all that it has in memory."""
    session = SCRIPT.replace("snakemake = SimpleNamespace(wildcards={})", "import snakemake")
    done = ran(tmp_path, f"FAILS = False\n{session}")
    assert done.stdout == "taken apart by Python\nthe end\n", done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("stream", ["> /dev/full", ">&-"])
def test_output_that_cannot_be_written_is_no_traceback(tmp_path: Path, stream: str) -> None:
    """Of a full disk, or a standard output that is closed."""
    script = "from vqaflow.runtime.process_start import end_process\nprint('a line')\nend_process(0)\n"
    (tmp_path / "script.py").write_text(script)
    command = ["bash", "-c", f'"{sys.executable}" script.py {stream}']
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (120 if "full" in stream else 0, "")


def test_a_command_that_fails_says_so(tmp_path: Path) -> None:
    """Scripts of users go by the status."""
    command = [sys.executable, "-m", "vqaflow"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    for arguments, status in ((["verify", "nowhere"], 1), (["--help"], 0), (["nothing"], 2), (["verify", "--odd"], 2)):
        done = subprocess.run([*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == status, done.stderr


def test_garbage_is_collected_after_imports() -> None:
    """Else a long training would grow; also where an import fails."""
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
