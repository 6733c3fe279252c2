"""One read-only checkout for all users of a machine: what works for its owner must work for the others."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from places import ROOT
from workflow_world import copy_workflow

PAGE = (ROOT / "docs/other_folder.md").read_text(encoding="utf-8")
COMMAND = re.search(r"^snakemake (-s /opt/vqaflow/Snakefile .*)$", PAGE, re.MULTILINE)[1]
NOBODY = 65534
USER = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def can_be_another_user() -> bool:
    """Whether another user can run this interpreter from a shell: one in root's home is closed to others."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    return subprocess.run([*USER, "bash", "-c", f"{sys.executable} -c ''"], capture_output=True).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_be_another_user(), reason="needs root, and a Python that other users may run"),
]


@pytest.fixture
def places() -> Iterator[Path]:
    """A folder that others may enter, with a checkout that they may only read, and a home of theirs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        checkout = copy_workflow(folder / "opt/vqaflow")
        for path in (checkout, *checkout.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        run = folder / "home/runs/april"
        run.mkdir(parents=True)
        (run / "my.yaml").write_text("data: {demo: {train_rows: 30, test_rows: 6}}\n", encoding="utf-8")
        for path in (folder / "home", *(folder / "home").rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        yield folder


def test_another_user_runs_from_a_read_only_checkout(places):
    """As the page says; the base, the schema and the profile's settings are found beside the Snakefile."""
    home = places / "home"
    options = (
        COMMAND.replace("/opt", f"{places}/opt").replace("~", str(home)).replace("--cores all", "--cores 1").split()
    )
    snakemake = [*USER, sys.executable, "-m", "snakemake", *options]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    given = {"cwd": home, "env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([*snakemake, "--", "results/folds.parquet"], **given)
    assert done.returncode == 0 and (home / "runs/april/results/folds.parquet").is_file(), done.stdout
    gpu = ["--profile", f"{places}/opt/vqaflow/profiles/gpu"]
    planned = subprocess.run([*snakemake, *gpu, "-n"], **given)
    assert planned.returncode == 0 and "train_adapter" in planned.stdout, planned.stdout
    assert not list((places / "opt").rglob(".snakemake")) and not (places / "opt/vqaflow/results").exists()
