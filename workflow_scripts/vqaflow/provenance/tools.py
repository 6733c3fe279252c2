"""Programs that are not part of vqaflow's own environment: where they are, and how they are run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vqaflow.runtime.errors import UserError

REQUIREMENTS = "requirements-provenance.txt"
ENVIRONMENT = ".venv-provenance"
PACKAGES = {
    "rocrate-validator": "roc-validator",
    "model_signing": "model-signing",
    "cyclonedx-py": "cyclonedx-bom",
    "pip-audit": "pip-audit",
}


def places() -> str:
    """Where programs are looked for: beside this Python, in the environment for them, and on PATH."""
    own = [str(Path(sys.executable).parent), str(Path(ENVIRONMENT, "bin").absolute())]
    return os.pathsep.join([*own, os.environ.get("PATH", "")])


def tool(name: str) -> str:
    """The path of a program. Raises UserError that says how to install it."""
    found = shutil.which(name, path=places())
    if found is None and name not in PACKAGES:
        raise UserError(f"{name}: is not installed. Install it with your system's package manager.")
    if found is None:
        raise UserError(
            f"{name}: is not installed; it is not in the default environment. Run: python3 -m venv {ENVIRONMENT} && "
            f"{ENVIRONMENT}/bin/pip install -r {REQUIREMENTS} (package {PACKAGES[name]})."
        )
    return found


def run_tool(name: str, arguments: Sequence[str], seconds: float = 600) -> subprocess.CompletedProcess[str]:
    """Run a program and wait for it. Raises UserError if it is not installed, or takes longer than `seconds`.

    PYTHONPATH is left out: the program may belong to another environment.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        return subprocess.run(
            [tool(name), *arguments], capture_output=True, text=True, check=False, timeout=seconds, env=environment
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{name}: had not finished after {seconds:.0f} seconds and was stopped. Run it by hand to see why."
        ) from None


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a program printed, without its full stop."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1].strip().rstrip(".")[:300] if lines else f"exit status {done.returncode}"
