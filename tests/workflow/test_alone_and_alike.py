"""Two fresh clones: the second with two cores, two threads asked for, no network, and secrets in its environment.

Both end with the same bytes, nothing asks for a network, and no file and no line has a secret.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT
from workflow_world import artifacts, copy_small_workflow, finished_workflow

pytestmark = pytest.mark.slow
BLOCKED = ROOT / "tests" / "support" / "blocked"
PLANTED = "planted0secret1value2"
SECRETS = {
    "HF_TOKEN": f"hf_{PLANTED}",
    "WANDB_API_KEY": PLANTED,
    "MLFLOW_TRACKING_URI": f"https://me:{PLANTED}@tracking.example",
    "HTTPS_PROXY": f"http://me:{PLANTED}@127.0.0.1:9",
    "HF_ENDPOINT": f"https://me:{PLANTED}@hub.example",
}


def without_network() -> list[str]:
    """The beginning of a command line that runs in a namespace of its own, where the kernel allows that."""
    wanted = ["unshare", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*wanted, "true"], capture_output=True).returncode == 0
    return wanted if allowed else []


def run_blocked(folder: Path, notes: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python in `folder` without a network; attempts to reach one are in `notes`."""
    environment = os.environ | SECRETS | {"BLOCKED_NOTES": str(notes), "OMP_NUM_THREADS": "2"}
    environment["PYTHONPATH"] = os.pathsep.join([str(BLOCKED), str(ROOT / "workflow_scripts")])
    command = [*without_network(), sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_attempts_are_seen(tmp_path: Path) -> None:
    """Else a run would seem to need no network whatever it does."""
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    assert run_blocked(tmp_path, tmp_path / "notes", "-c", code).returncode == 1
    assert "socket.getaddrinfo" in (tmp_path / "notes").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A clone that has run in this way: its folder, the notes, and what it printed."""
    scratch = tmp_path_factory.mktemp("alone")
    folder, notes = copy_small_workflow(scratch / "clone"), scratch / "notes"
    done = run_blocked(folder, notes, "-m", "snakemake", "--cores", "2", "--resources", "gpu=2")
    assert done.returncode == 0, done.stdout
    return folder, notes, done.stdout


def test_two_clones_give_equal_bytes(alone, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With one core and two, whatever number of threads the shell asks for."""
    first = artifacts(finished_workflow(tmp_path_factory.getbasetemp()))
    assert len(first) >= 20
    assert artifacts(alone[0]) == first


def test_a_run_asks_for_no_network(alone) -> None:
    """Compute nodes have none: libraries would wait for minutes, job by job, and a service could change a result."""
    folder, notes, _ = alone
    assert not notes.exists(), notes.read_text(encoding="utf-8")


def test_no_file_and_no_line_has_a_secret(alone) -> None:
    """Results, logs and Snakemake's records are passed on to others."""
    folder, _, printed = alone
    assert PLANTED not in printed
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert not [str(path) for path in files if PLANTED.encode() in path.read_bytes()]
