"""The lock, the requirements and the conda environments must say the same, or a result depends on how one installs."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker

from workflow_world import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)(?: ; ([^\\\n]+))?", re.MULTILINE)
NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[\w,]+\])?(?:==(\S+))?$")


def canonical(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> dict[str, dict[str, str | None]]:
    """Packages of requirements.in by its headings, with the version where one is asked for."""
    sections: dict[str, dict[str, str | None]] = {}
    for line in (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            current = sections.setdefault(line.removeprefix("#").strip(), {})
        elif line:
            name, version = NAME.fullmatch(line).groups()
            current[canonical(name)] = version
    return sections


def pins(python: str | None = None) -> dict[str, list[str]]:
    """Versions of the lock; a package may have one for each version of Python, of which `python` picks its own."""
    found: dict[str, list[str]] = {}
    for name, version, marker in PIN.findall(LOCK):
        if not (python and marker) or Marker(marker.strip()).evaluate({"python_full_version": python}):
            found.setdefault(canonical(name), []).append(version)
    return found


def test_the_lock_holds_all_that_is_required():
    """`make lock` was forgotten after an edit of requirements.in."""
    wanted = {name: version for section in requirements().values() for name, version in section.items()}
    assert wanted.keys() <= pins().keys()
    assert {name: pins()[name] for name, version in wanted.items() if version} == {
        name: [version] for name, version in wanted.items() if version
    }


def test_every_pin_has_hashes_and_no_host():
    """A file that is not the one that was tested must not be installed, from whatever index."""
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(entries) == len(PIN.findall(LOCK)) > 50
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    for name in ("requirements.lock", "requirements.in", "envs/vqaflow.yaml", "Makefile", ".ci/run", "pyproject.toml"):
        assert re.findall(r"https?://|--(?:extra-)?index-url|--find-links", (ROOT / name).read_text("utf-8")) == [], (
            name
        )


def test_conda_gets_the_pins_of_the_lock():
    """`--sdm conda` and `make` must run the same versions: of all that the scripts of the rules need."""
    environment = yaml.safe_load((ROOT / "envs" / "vqaflow.yaml").read_text(encoding="utf-8"))
    given = dict(line.split("==") for line in environment["dependencies"][-1]["pip"])
    python = environment["dependencies"][0].removeprefix("python=")
    locked, required = pins(f"{python}.0"), requirements()
    assert {name: [version] for name, version in given.items()} == {name: locked[canonical(name)] for name in given}
    needed = {
        name for heading, names in required.items() if heading not in ("workflow", "development") for name in names
    }
    assert needed | {"snakemake"} == {canonical(name) for name in given}


def test_every_rule_with_a_script_names_its_environment():
    for path in (ROOT / "rules").glob("*.smk"):
        rules = re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        for rule in rules:
            assert ("script:" in rule) == ('conda:\n        "../envs/vqaflow.yaml"' in rule), rule.split(":")[0]


def test_python_is_the_oldest_that_is_promised():
    """The lock is resolved for, and the environment made with, what pyproject.toml promises to run on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"python={oldest}" in (ROOT / "envs" / "vqaflow.yaml").read_text(encoding="utf-8")
    assert f"--python-version {oldest}" in (ROOT / "Makefile").read_text(encoding="utf-8")


# Loaded where a user has installed them: what the benchmark compares with, which may need other versions than the lock,
# and kernels that are checked before they are used. Torch's builds for GPUs bring triton in the version that they need.
UNLOCKED = {"datasets", "fla", "triton", "trl", "unsloth"}


def imported(folder: Path) -> set[str]:
    """The top-level names of what the files of `folder` import and neither Python nor the repository has."""
    own = {
        "vqaflow",
        "tests",
        "mutants",
        "notebooks",
        *(path.stem for path in (ROOT / "tests" / "support").glob("*.py")),
    }
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).split(".")[0])
    return found - own - UNLOCKED - set(sys.stdlib_module_names)


@pytest.mark.parametrize(("folder", "left_out"), [("workflow_scripts", {"workflow", "development"}), ("tests", set())])
def test_requirements_name_all_that_is_imported(folder: str, left_out: set[str]) -> None:
    """What only another package brings along goes with that package's next version, and the import with it."""
    named = {name for heading, names in requirements().items() if heading not in left_out for name in names}
    by_import = packages_distributions()
    unnamed = {
        name
        for name in imported(ROOT / folder)
        if not named & {canonical(distribution) for distribution in by_import.get(name, [])}
    }
    assert unnamed == set(), "add them to requirements.in, run `make lock KEEP=1`, and let envs/vqaflow.yaml follow"
