"""The files that forges and catalogs read: nothing of ours reads them, so that a mistake would show there only."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from places import ROOT
from vqaflow.config.loading import checked_config, load_config
from vqaflow.config.sections import leaf_keys

HOOKS = ".pre-commit-config.yaml"
CI = ".github/workflows/ci.yml"
CITATION = "CITATION.cff"


def read(name: str) -> dict:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def value_at(config: dict, key: str) -> object:
    for part in key.split("."):
        config = config[part]
    return config


def test_the_settings_to_start_from_are_the_defaults():
    """Else a deployed workflow would do something else than this one, and config.yaml would explain other values."""
    shipped, first = load_config(ROOT / "config.yaml"), load_config(ROOT / "config/config.yaml")
    keys = leaf_keys(first)
    assert len(keys) > 8
    assert [key for key in keys if value_at(first, key) != value_at(shipped, key)] == []


@pytest.mark.parametrize("name", ["config/config.yaml", ".test/config.yaml"])
def test_settings_beside_the_workflow_are_valid(name):
    checked_config(ROOT / name)


def test_all_say_the_same_version_and_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = read(CITATION)
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    released = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[1] == project["version"]


def test_the_citation_has_what_its_schema_requires():
    """A forge shows no citation at all if a required key is missing or a key is unknown."""
    citation = read(CITATION)
    assert {"cff-version", "message", "title", "authors"} <= citation.keys() and citation["type"] == "software"
    known = {"cff-version", "message", "title", "authors", "type", "version", "license", "keywords", "abstract"}
    assert citation.keys() <= known
    assert citation["authors"] and all(isinstance(author["name"], str) for author in citation["authors"])
    assert isinstance(citation["version"], str)


def test_the_catalog_finds_the_workflow():
    """It looks for these places, and shows how software is deployed."""
    usage = read(".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    assert usage["software-stack-deployment"]["conda"] and (ROOT / "envs/vqaflow.yaml").is_file()
    for name in ("workflow/Snakefile", "config/README.md", "config/config.yaml", ".test/config.yaml", "LICENSE"):
        assert (ROOT / name).is_file(), name


def test_what_ci_runs_is_there():
    """A step that names a file or a target that was renamed fails on the forge only."""
    jobs = read(CI)["jobs"]
    steps = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for step in steps for word in re.findall(r"^make (\S+)", step)} <= set(targets)
    assert ".ci/run" in steps and (ROOT / ".ci/run").stat().st_mode & 0o111
    assert any("--directory .test" in step for step in steps)
    assert all(job["timeout-minutes"] and "runs-on" in job for job in jobs.values())


def test_hooks_check_what_make_lint_checks():
    """A commit that the hooks pass must not fail in CI for its style."""
    [source] = read(HOOKS)["repos"]
    entries = " ".join(hook["entry"] for hook in source["hooks"])
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:", 1)[1].split("\n\n", 1)[0]
    for tool in ("ruff check", "ruff format --check", "snakefmt --check"):
        assert f".venv/bin/{tool}" in entries and f"$(BIN)/{tool}" in lint
    pattern = next(re.compile(hook["files"]) for hook in source["hooks"] if hook["id"] == "snakefmt")
    rules = [*ROOT.glob("rules/*.smk"), ROOT / "Snakefile", ROOT / "workflow/Snakefile"]
    assert [path for path in rules if not pattern.search(str(path.relative_to(ROOT)))] == []
    named = re.search(r"snakefmt --check (.*)", lint)[1].split()
    assert all(any(path.is_relative_to(ROOT / Path(name)) for name in named) for path in rules)


def test_commands_in_the_pages_are_those_of_the_makefile():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([\w./]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = set(re.findall(r"^    make (\S+)", text, re.MULTILINE))
    assert len(named) >= 4 and named <= set(targets)
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text + (ROOT / "config/README.md").read_text(encoding="utf-8")):
        assert (ROOT / link.removeprefix("../")).is_file(), link
