"""Where the tests find things: the repository, the package and its modules, and real data that cannot be shipped.

`VQAFLOW_REAL_DATA` names a folder of real questions and pictures; tests that need it are skipped without.
`VQAFLOW_LONG`, if set, has whole runs repeated that otherwise are planned, or tested in parts.
"""

import os
from collections.abc import Callable
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow_scripts"
PACKAGE = SCRIPTS / "vqaflow"
IS_LONG = "VQAFLOW_LONG" in os.environ
REAL_DATA = Path(os.environ.get("VQAFLOW_REAL_DATA", "no real data"))
takes_minutes = pytest.mark.skipif(not IS_LONG, reason="takes minutes: set VQAFLOW_LONG=1")


def loaded_by(rule: str) -> frozenset[str]:
    """Modules of the package that a rule's script loads or may load, by the search through their bytecode."""
    finder = ModuleFinder(path=[str(SCRIPTS)])
    finder.run_script(str(SCRIPTS / f"{rule}.py"))
    files = [Path(found.__file__) for name, found in finder.modules.items() if name.split(".")[0] == PACKAGE.name]
    return frozenset(file.relative_to(PACKAGE).as_posix() for file in files)


def needs_real_data(test: Callable) -> Callable:
    """Mark a test, so that `-m real_data` selects it, and skip it where there is no real data."""
    skip = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="VQAFLOW_REAL_DATA names no folder of real data")
    return pytest.mark.real_data(skip(test))
