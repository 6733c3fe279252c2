"""What git says of a checkout in which the workflow has run: nothing."""

import shutil
import subprocess

import pytest

from places import ROOT


def git(folder, *arguments):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path):
    """A repository with the workflow's .gitignore, and a folder on another disk."""
    shutil.copyfile(ROOT / ".gitignore", tmp_path / ".gitignore")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / ".gitkeep").touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "all")
    return tmp_path


def test_results_and_environments_are_not_shown(checkout):
    """Only .gitkeep is kept of results/: a first `git add .` must not take gigabytes."""
    for name in ("results/submission.csv", "results/tables/train.parquet", ".venv/a", ".snakemake/a"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    assert git(checkout, "ls-files").split() == [".gitignore", "results/.gitkeep"]
    assert git(checkout, "status", "--porcelain", "-uall") == ""


def test_links_to_another_disk_are_not_shown(checkout, tmp_path_factory):
    """A pattern that ends with a slash matches folders only, and `git add .` would commit the link."""
    shutil.rmtree(checkout / "results")
    for name in ("results", ".venv", ".snakemake"):
        (checkout / name).symlink_to(tmp_path_factory.mktemp("disk"))
    assert git(checkout, "status", "--porcelain", "-uall") == " D results/.gitkeep\n"
