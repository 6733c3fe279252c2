"""The versions that are declared as supported, and those that each set of pins installs, must be the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from places import ROOT
from vqaflow.plan.doctor.supported import BOUNDS, KAGGLE, PYTHON, SETS, release

PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
LOCKS = ("requirements.lock", "requirements-kaggle.lock", "requirements-oldest.lock")
# What Kaggle's image has: torch, and what comes with it.
THERE = re.compile(r"torch|torchvision|triton|(nvidia|cuda)-.*")


def pins(lock: str) -> dict[str, str]:
    """The versions of a lock by package; of one with several, the last."""
    return dict(PIN.findall((ROOT / lock).read_text(encoding="utf-8")))


def test_the_newest_versions_are_those_of_the_lock() -> None:
    """`make test` runs with requirements.lock: what is newer has not been tried."""
    locked = pins("requirements.lock")
    assert {name: bounds.newest for name, bounds in BOUNDS.items()} == {name: locked[name] for name in BOUNDS}


def test_the_oldest_versions_are_those_of_their_lock() -> None:
    """`make test-oldest` would try other versions than those that are promised."""
    locked = pins("requirements-oldest.lock")
    assert {name: bounds.oldest for name, bounds in BOUNDS.items()} == {name: locked[name] for name in BOUNDS}


def test_the_pins_for_kaggle_leave_out_what_is_there_and_keep_the_bounds() -> None:
    """Another torch beside Kaggle's drivers would not start."""
    locked = pins("requirements-kaggle.lock")
    assert [name for name in locked if THERE.fullmatch(name)] == []
    assert {"transformers", "peft", "bitsandbytes", "snakemake"} <= locked.keys()
    for name in ("transformers", "peft"):
        assert release(KAGGLE[name].oldest) <= release(locked[name]) < release(KAGGLE[name].newest)
    for name, bounds in BOUNDS.items():
        if name in locked:
            assert release(bounds.oldest) <= release(locked[name]) <= release(bounds.newest)
    for name, bounds in KAGGLE.items():
        assert release(BOUNDS[name].oldest) <= release(bounds.oldest)
        assert release(bounds.newest) <= release(BOUNDS[name].newest)


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_other_locks_hold_all_that_is_required(lock: str) -> None:
    """A package that requirements.in got later would be missing where they are installed."""
    lines = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    named = {re.split(r"[\[=]", line)[0].replace("_", "-").lower() for line in lines if line and line[0] != "#"}
    assert len(named) > 30
    assert {name for name in named - pins(lock).keys() if not THERE.fullmatch(name)} == set(), "run make lock-…"


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_the_other_locks_have_hashes_and_no_host(lock: str) -> None:
    """A file that is not the one that was resolved must not be installed, from whatever index."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(PIN.findall(text)) > 100
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?://|--(?:extra-)?index-url|--find-links", text) == []


def test_python_is_the_one_that_pip_is_told() -> None:
    """The doctor, pip, the Makefile and conda must refuse the same versions."""
    oldest = ".".join(map(str, PYTHON))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    environment = yaml.safe_load((ROOT / "envs" / "vqaflow.yaml").read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert project["requires-python"] == f">={oldest}"
    assert environment["dependencies"][0] == f"python={oldest}"
    assert f"sys.version_info < {PYTHON}" in makefile


def test_conda_and_the_requirements_are_within_the_bounds() -> None:
    """What `--sdm conda` installs, and what requirements.in asks for by version."""
    environment = yaml.safe_load((ROOT / "envs" / "vqaflow.yaml").read_text(encoding="utf-8"))
    given = [*environment["dependencies"][-1]["pip"], *(ROOT / "requirements.in").read_text("utf-8").splitlines()]
    asked = [(name, version) for name, version in (re.split("==", line) for line in given if "==" in line)]
    checked = [(name, version) for name, version in asked if name in BOUNDS]
    assert len(checked) > len(BOUNDS)
    for name, version in checked:
        assert release(BOUNDS[name].oldest) <= release(version) <= release(BOUNDS[name].newest), name


def test_the_page_of_versions_says_the_bounds() -> None:
    """A reader of docs/versions.md would install something else."""
    page = Path(ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    kaggle = pins("requirements-kaggle.lock")
    for name, bounds in BOUNDS.items():
        there = kaggle.get(name) or f"{KAGGLE[name].oldest.removesuffix('.0')} or later, below {KAGGLE[name].newest}"
        assert f"| {name} | {bounds.oldest} | {bounds.newest} | {there}" in page, name


def test_a_set_of_pins_is_resolved_within_the_bounds() -> None:
    """What `make lock-kaggle` and `make lock-oldest` give the resolver."""
    assert SETS["oldest"][:2] == ("torch==2.10.0", "torchvision==0.25.0")
    assert SETS["kaggle"][0] == "torch>=2.10.0,<2.12"


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.11.0+cu128", (2, 11, 0)), ("2.12.0rc1", (2, 12, 0)), ("580.65.06", (580, 65, 6)), ("5.15.1.dev0", (5, 15, 1))],
)
def test_versions_are_compared_by_their_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert release(version) == numbers
