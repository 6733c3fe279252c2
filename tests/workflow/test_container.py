"""The image of a run is named by whoever runs it, and holds nothing that is not the workflow's."""

import fnmatch
import shutil
import subprocess
from pathlib import Path

import pytest

from places import ROOT
from workflow_world import copy_small_workflow, snakemake

TELL = """

for told in workflow.rules:
    print("IMAGE", told.name, told.container_img, file=sys.stderr)
"""


def container_tool() -> str | None:
    """The program that builds images here; one whose service does not answer builds none."""
    for name in filter(shutil.which, ("docker", "podman")):
        if subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    return None


CONTAINER_TOOL = container_tool()


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow that tells the image of each rule while it is parsed."""
    folder = copy_small_workflow(tmp_path_factory.mktemp("container") / "workflow")
    file = folder / "Snakefile"
    file.write_text(file.read_text(encoding="utf-8") + TELL, encoding="utf-8")
    return folder


def images(workflow: Path) -> dict[str, str]:
    printed = snakemake(workflow, "--list-rules").stdout
    lines = [line.split(" ", 2) for line in printed.splitlines() if line.startswith("IMAGE ")]
    return {name: image for _, name, image in lines}


def test_rules_carry_the_image_that_the_environment_names(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--sdm apptainer` takes it; without the variable, jobs run as ever."""
    monkeypatch.delenv("VQAFLOW_IMAGE", raising=False)
    without = images(workflow)
    assert "train_adapter" in without and set(without.values()) == {"None"}
    monkeypatch.setenv("VQAFLOW_IMAGE", "docker://registry.example/vqaflow:0.2.0")
    found = images(workflow)
    assert found.keys() == without.keys()
    scripts = {file.stem for file in (ROOT / "workflow_scripts").glob("*.py")}
    assert {found[name] for name in scripts} == {"docker://registry.example/vqaflow:0.2.0"}


def test_an_image_gets_no_results_data_or_secrets() -> None:
    """The folder of a checkout may hold all of them."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays outside"
    kept = [line[1:] for line in rules if line.startswith("!")]
    assert all((ROOT / name).exists() for name in kept), "the image would lack it"
    for name in ("results", ".git", ".venv", ".env", "data", "tests", ".snakemake"):
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in kept)
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "--require-hashes" in text and text.index("\nUSER vqaflow") < text.index("\nCMD")
    assert not {"ARG", "SECRET", "TOKEN"} & set(text.upper().replace("=", " ").split())


@pytest.mark.slow
@pytest.mark.skipif(CONTAINER_TOOL is None, reason="docker or podman must work here to build the image")
def test_the_image_is_built_and_helps() -> None:
    built = subprocess.run([str(CONTAINER_TOOL), "build", "-q", "-t", "vqaflow-test", str(ROOT)], capture_output=True)
    assert built.returncode == 0, built.stderr
    helped = subprocess.run([str(CONTAINER_TOOL), "run", "--rm", "vqaflow-test"], capture_output=True, text=True)
    assert helped.returncode == 0 and "Targets, with your own data" in helped.stdout + helped.stderr
