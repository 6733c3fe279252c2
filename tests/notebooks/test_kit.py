"""`make kaggle`, `make colab`: what they write is what Kaggle's client and the notebooks read, of a bounded size."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from notebooks import kit as module
from notebooks.cells import HERE, SERVICES, cells, notebook
from notebooks.kit import LOCK, Kit, fetch_wheels, main, pack_workflow, write_colab, write_kaggle, write_wheel_list

from notebook_world import DEMO, script_of, write_wheel
from places import ROOT
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import UserError
from workflow_world import plan_of, snakemake

MODEL = "owner/qwen2.5-vl/transformers/7b-instruct/1"


@pytest.fixture
def without_network(monkeypatch):
    """One small wheel stands for those that are downloaded."""
    monkeypatch.setattr(module, "fetch_wheels", lambda lock, folder: write_wheel(folder))


@pytest.mark.parametrize("service", SERVICES)
def test_the_notebook_is_made_of_the_cells(service):
    """A cell that was changed in one place alone would not be the one that the tests run: make notebooks."""
    assert (HERE / f"{service}.ipynb").read_text(encoding="utf-8") == notebook(service)
    compile(script_of(service), service, "exec")


def test_both_notebooks_share_all_cells_but_the_first():
    kaggle, colab = (cells(service) for service in SERVICES)
    assert kaggle[2:] == colab[2:]


def test_the_notebook_is_valid():
    nbformat = pytest.importorskip("nbformat")
    for service in SERVICES:
        nbformat.validate(nbformat.read(HERE / f"{service}.ipynb", as_version=4))


def test_the_metadata_names_all_inputs(tmp_path, without_network):
    """An input that is not named is not there, and the first that says so is the notebook on Kaggle."""
    config = tmp_path / "mine.yaml"
    config.write_text("train: {epochs: 2}\n")
    told = write_kaggle(Kit("Some-Competition", "me", MODEL, config, goes_on=True), tmp_path / "out")
    kernel = json.loads((tmp_path / "out/kernel/kernel-metadata.json").read_text())
    dataset = json.loads((tmp_path / "out/inputs/dataset-metadata.json").read_text())
    assert kernel["dataset_sources"] == [dataset["id"]] == ["me/vqaflow-some-competition-inputs"]
    assert kernel["competition_sources"] == ["Some-Competition"]
    assert kernel["model_sources"] == [MODEL]
    assert kernel["kernel_sources"] == [kernel["id"]]
    assert (kernel["enable_gpu"], kernel["enable_internet"], kernel["is_private"]) == (True, False, True)
    assert kernel["machine_shape"] == "NvidiaTeslaT4"
    assert (tmp_path / "out/kernel" / kernel["code_file"]).read_text(encoding="utf-8") == notebook("kaggle")
    assert kernel["id"].partition("/")[2] == kernel["title"].lower().replace(" ", "-"), "Kaggle makes one of the other"
    assert "1 wheels, 0 MB" in told[0] and str(tmp_path / "out/inputs") in told[3]


def test_long_names_fit_kaggle_s_limits():
    kit = Kit("a-very-long-name-of-a-competition-that-has-no-end-at-all", "me")
    titles = [kit.kernel_metadata["title"], kit.dataset_metadata["title"], kit.name, kit.inputs]
    assert all(6 <= len(title) <= 50 for title in titles), titles


def test_the_packed_workflow_runs(tmp_path):
    """A file that was left out would be missed on Kaggle only."""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(DEMO), encoding="utf-8")
    pack_workflow(Kit(None, "me", config=tmp_path / "mine.yaml"), tmp_path / "workflow.zip")
    zipfile.ZipFile(tmp_path / "workflow.zip").extractall(tmp_path / "work")
    assert json.loads((tmp_path / "work/kit.json").read_text()) == {"competition": None, "model": None}
    assert not list((tmp_path / "work").rglob("*.pyc"))
    done = snakemake(tmp_path / "work", "-n", "--configfile", "my.yaml", "--profile", "profiles/kaggle-t4x2")
    assert done.returncode == 0 and plan_of(done.stdout).jobs["train_adapter"] == 2, done.stdout


def test_equal_files_are_packed_to_equal_bytes(tmp_path):
    """Else each new dataset version would be sent as a whole."""
    for name in ("one", "two"):
        pack_workflow(Kit("name", "me"), tmp_path / name / "workflow.zip")
    assert file_digest(tmp_path / "one/workflow.zip") == file_digest(tmp_path / "two/workflow.zip")


def test_a_set_of_wheels_that_is_too_large_is_refused(tmp_path, monkeypatch):
    """It would be sent for hours, and Kaggle's disk is small."""
    size = write_wheel(tmp_path).stat().st_size
    assert write_wheel_list(tmp_path) == size
    monkeypatch.setattr(module, "MOST_BYTES", size - 1)
    with pytest.raises(UserError, match="the wheels take"):
        write_wheel_list(tmp_path)
    assert module.MOST_BYTES < 2 * 10**9


def test_the_list_of_wheels_has_their_digests(tmp_path):
    wheel = write_wheel(tmp_path)
    write_wheel_list(tmp_path)
    assert (tmp_path / "wheels.lock").read_text() == f"standin==1.0 --hash=sha256:{file_digest(wheel)}\n"


def test_wheels_are_fetched_for_kaggle_s_python_with_all_hashes(tmp_path, monkeypatch):
    """A wheel for this machine's Python would be refused there; one without a hash may be anything."""
    calls = []
    (tmp_path / "workflow.zip").touch()  # is no package

    def pip(*words, lock):
        calls.append(words)
        if words[0] == "download":
            (tmp_path / "source-1.0.tar.gz").touch()
        else:
            write_wheel(tmp_path, "source")

    monkeypatch.setattr(module, "_pip", pip)
    fetch_wheels(LOCK, tmp_path)
    download, built = calls
    assert {"--require-hashes", "--no-deps", "3.12", "cp312", "manylinux_2_28_x86_64", str(LOCK)} <= set(download)
    assert built[0] == "wheel" and built[-1].endswith("source-1.0.tar.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source-1.0-py3-none-any.whl", "workflow.zip"]


def test_a_wheel_that_was_built_for_this_machine_is_refused(tmp_path, monkeypatch):
    def pip(*words, lock):
        (tmp_path / "source-1.0-cp311-cp311-linux_x86_64.whl").touch()

    monkeypatch.setattr(module, "_pip", pip)
    with pytest.raises(UserError, match="was built for this machine alone"):
        fetch_wheels(LOCK, tmp_path)


def test_a_lock_that_pip_cannot_fetch_is_one_message(tmp_path):
    lock = tmp_path / "my.lock"
    lock.write_text("not a requirement\n")
    with pytest.raises(UserError, match="my.lock: pip cannot fetch all of it"):
        fetch_wheels(lock, tmp_path / "wheels")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"competition": "https://www.kaggle.com/c/name"}, "COMPETITION"),
        ({"user": "some one"}, "USER"),
        ({"model": "qwen2.5-vl"}, "MODEL"),
        ({"config": Path("nowhere.yaml")}, "CONFIG nowhere.yaml"),
    ],
)
def test_a_wrong_option_is_named(facts, named):
    with pytest.raises(UserError, match=named):
        Kit(**({"competition": "name", "user": "me"} | facts))


def test_without_a_user_nothing_is_written(tmp_path, capfd):
    with pytest.raises(SystemExit):
        main(["kaggle", "--competition", "name", "--out", str(tmp_path / "out")])
    assert "USER: is missing" in capfd.readouterr().err and not (tmp_path / "out").exists()


def test_the_folder_for_drive_has_no_wheels(tmp_path):
    """Colab has internet, and Drive is slow."""
    told = write_colab(Kit("name", "nobody"), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["colab.ipynb", "workflow.zip"]
    assert "name.zip" in told[0]


def test_make_passes_its_variables_on_but_not_the_shell_s_user(tmp_path):
    """USER is set in every shell, to a name that is not Kaggle's."""
    folder = tmp_path / "copy"
    folder.mkdir()
    shutil.copyfile(ROOT / "Makefile", folder / "Makefile")
    words = ["make", "-n", "-o", ".venv/ready", "kaggle", "COMPETITION=name", f"MODEL={MODEL}", "CONFIG=my.yaml"]
    told = {}
    for user in ([], ["USER=me"]):
        done = subprocess.run([*words, *user], cwd=folder, env={"USER": "shell", "PATH": "/usr/bin:/bin"},
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        told[bool(user)] = done.stdout
    assert "--user" not in told[False] and '--user "me"' in told[True]
    for words in ("notebooks.kit kaggle", '--competition "name"', f'--model "{MODEL}"', '--config "my.yaml"'):
        assert words in told[True]
