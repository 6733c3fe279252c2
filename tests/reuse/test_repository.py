"""The workflow from a tag of a repository: as docs/other_folder.md shows it, and as snakedeploy writes it.

No forge is asked: git reads a local repository instead.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from places import ROOT
from workflow_world import copy_workflow, plan_of, snakemake

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs/other_folder.md").read_text(encoding="utf-8")
MODULE = next(text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "github(" in text)
DEPLOY = re.search(r"^snakedeploy (deploy-workflow .*)$", PAGE, re.MULTILINE)[1]
SMALL = "data: {demo: {train_rows: 30, test_rows: 6}}\n"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True)


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of repositories, of which OWNER/vqaflow has the tag v0.2.0."""
    forge = tmp_path_factory.mktemp("forge") / "github"
    repository = copy_workflow(forge / "OWNER" / "vqaflow")
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, repository / name)
    shutil.copyfile(ROOT / "LICENSE", repository / "LICENSE")
    git(repository, "init", "-q")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "all")
    git(repository, "tag", "v0.2.0")
    return forge


@pytest.fixture(scope="module")
def fetched(forge: Path) -> dict[str, str]:
    """The environment in which git reads the local repository, and Snakemake has a cache of its own."""
    mirror = {"GIT_CONFIG_KEY_0": f"url.file://{forge}/.insteadOf", "GIT_CONFIG_VALUE_0": "https://github.com/"}
    return mirror | {"GIT_CONFIG_COUNT": "1", "XDG_CACHE_HOME": str(forge.parent / "cache")}


def deploy_by_hand(repository: Path, folder: Path) -> None:
    """What snakedeploy 0.17 does with a repository: copies, and a Snakefile with a module."""
    for name in ("config", "profiles"):
        shutil.copytree(repository / name, folder / name)
    (folder / "workflow").mkdir()
    text = f'configfile: "config/config.yaml"\n\n{MODULE}'
    (folder / "workflow/Snakefile").write_text(text, encoding="utf-8")


def test_a_tag_runs_as_it_is_deployed(forge, fetched, tmp_path):
    """Scripts, package, schema and base come from the tag, which Snakemake keeps as a bare clone only."""
    deploy_by_hand(forge / "OWNER/vqaflow", tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    target = ["--configfile", "small.yaml", "--", "results/tables/train.parquet"]
    done = snakemake(tmp_path, "--cores", "1", *target, **fetched, PYTHONPATH="")
    assert done.returncode == 0 and (tmp_path / "results/tables/train.parquet").is_file(), done.stdout
    [checkout] = (forge.parent / "cache").glob("**/source-cache/vqaflow/*")
    assert (checkout / "workflow_scripts/vqaflow").is_dir() and (checkout / "assets/tiny-qwen2_5-vl").is_dir()
    assert not list((tmp_path / ".snakemake").glob("**/vqaflow/__init__.py"))


@pytest.mark.skipif(shutil.which("snakedeploy") is None, reason="needs snakedeploy on the PATH")
def test_snakedeploy_writes_what_runs(forge, fetched, tmp_path):
    command = DEPLOY.replace("https://github.com", f"file://{forge}").split()
    subprocess.run(["snakedeploy", *command], cwd=tmp_path, check=True)
    done = snakemake(tmp_path / "april", "-n", **fetched)
    assert done.returncode == 0 and plan_of(done.stdout).jobs["train_adapter"] == 3, done.stdout
