"""A wheel is whole: installed in an empty folder and run elsewhere, its commands find all that they need."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from places import PACKAGE, ROOT, SCRIPTS

PARTS = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "NOTICE", "config.yaml"]
FOLDERS = ["schemas", "workflow_scripts"]
DATA = (".json", ".html", ".css", ".js")
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """A command's end and what it printed."""
    return subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from."""
    copy = tmp_path_factory.mktemp("wheel") / "repository"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in PARTS:
        shutil.copyfile(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(repository: Path) -> Path:
    """The wheel, built without a network."""
    folder = repository.parent / "wheels"
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    built = run(*PIP, "wheel", *options, str(repository), folder=repository.parent)
    assert built.returncode == 0, built.stdout
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """An empty folder into which the wheel alone was installed."""
    target = wheel.parent / "installed"
    done = run(*PIP, "install", "--no-index", "--no-deps", "--target", str(target), str(wheel), folder=wheel.parent)
    assert done.returncode == 0, done.stdout
    return target


@pytest.fixture
def vqaflow(installed: Path, tmp_path: Path):
    """Run `python -m vqaflow` from the wheel in an empty folder outside the repository."""

    def command(*arguments: str) -> subprocess.CompletedProcess:
        return run(sys.executable, "-m", "vqaflow", *arguments, folder=tmp_path, PYTHONPATH=str(installed))

    return command


def test_the_wheel_holds_everything(wheel):
    """A sub-package or data file that is left out fails on the user's machine only."""
    held = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in PACKAGE.rglob("*") if path.suffix in (".py", *DATA)]
    assert len(files) > 100
    missing = {str(path.relative_to(SCRIPTS)) for path in files} - held
    assert not missing, "users of the wheel would not have these files"
    assert {"vqaflow/config/config.yaml", "vqaflow/config/config.schema.yaml"} <= held
    assert "vqaflow/question_types/weights.json" in held
    foreign = {name for name in held if not name.startswith(("vqaflow/", "vqaflow-"))}
    assert not foreign, "the wheel would write these files beside other packages"


def test_the_wheel_s_own_code_runs(installed, tmp_path):
    """Else the other tests here would try the repository's code, and say nothing of the wheel."""
    program = "import vqaflow.config.loading as loading; print(loading.__file__, loading.shipped('config.yaml'))"
    printed = run(sys.executable, "-c", program, folder=tmp_path, PYTHONPATH=str(installed)).stdout.split()
    assert printed == [str(installed / "vqaflow/config" / name) for name in ("loading.py", "config.yaml")]


def test_a_source_distribution_holds_the_configuration(repository, tmp_path):
    """`python -m build` makes the wheel from it, and would fail without these files."""
    copy = Path(shutil.copytree(repository, tmp_path / "repository"))
    program = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))"
    done = run(sys.executable, "-c", program, folder=copy)
    assert done.returncode == 0, done.stdout
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"config.yaml", "schemas/config.schema.yaml", "setup.py"} <= held


def test_help_is_the_repository_s(vqaflow, tmp_path):
    done = vqaflow("--help")
    assert done.returncode == 0
    assert (
        done.stdout == run(sys.executable, "-m", "vqaflow", "--help", folder=tmp_path, PYTHONPATH=str(SCRIPTS)).stdout
    )
    assert "question_types" in done.stdout


def test_the_console_script_runs(installed, tmp_path):
    done = run(str(installed / "bin/vqaflow"), "train_adapter", "--help", folder=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stdout
    assert "--fold" in done.stdout


def test_question_types_finds_its_weights(vqaflow, tmp_path):
    (tmp_path / "in.csv").write_text(
        "id,question,a,b,c,d\n1,How many cups are on the table?,1,2,3,4\n2,사진 속 글자는 무엇입니까?,가,나,다,라\n",
        encoding="utf-8",
    )
    done = vqaflow("question_types", "in.csv", "--out", "out.csv")
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "id,qtype,flip_unsafe" and len(lines) == 3


def test_a_command_that_reads_the_configuration_checks_it(vqaflow, tmp_path):
    """With the wheel's own config.yaml and schema: a misspelt key is named with the nearest known one."""
    (tmp_path / "my.yaml").write_text("folds: {near_distanse: 4}\n")
    done = vqaflow("make_folds", "--config", "my.yaml")
    assert done.returncode == 1
    assert "near_distanse" in done.stdout and "near_distance" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_command_that_reads_the_configuration_runs(vqaflow, tmp_path):
    """The demo's data come from published packages, so they are made anywhere."""
    (tmp_path / "my.yaml").write_text("data: {demo: {train_rows: 60, test_rows: 40}}\n")
    done = vqaflow("prepare_demo", "--config", "my.yaml", "--out", "demo")
    assert done.returncode == 0, done.stdout
    assert len((tmp_path / "demo/train.csv").read_text(encoding="utf-8").splitlines()) == 61
