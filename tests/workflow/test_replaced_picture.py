"""A picture replaced under its name is found by Snakemake itself; new times of the same pictures change nothing."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from workflow_world import finished_workflow, plan_of, snakemake

pytestmark = pytest.mark.slow
TARGET = "results/folds.parquet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A copy of a finished run: its files have new times."""
    made = finished_workflow(tmp_path_factory.getbasetemp())
    copy = tmp_path_factory.mktemp("replaced") / "workflow"
    return Path(shutil.copytree(made, copy))


def plan(folder: Path, *targets: str):
    done = snakemake(folder, "-n", *targets)
    assert done.returncode == 0, done.stdout
    return plan_of(done.stdout)


def test_a_replaced_picture_is_found_once(folder):
    """It had been scored under the old picture's digest; and found at each call, it would never be finished."""
    assert plan(folder).jobs == {}, "nothing is to be done"
    for path in (folder / "results/demo/train").rglob("*.png"):
        os.utime(path)
    assert plan(folder).jobs == {}, "touch changes nothing"
    before = pd.read_parquet(folder / "results/tables/train.parquet")
    file = folder / before["image_file"][0]
    old = file.read_bytes()
    Image.new("RGB", Image.open(file).size, (9, 99, 9)).save(file)
    todo = plan(folder)
    assert todo.direct == {"validate_tables"} and {"train_adapter", "score_choices"} <= todo.rules
    done = snakemake(folder, "--cores", "1", TARGET)
    assert done.returncode == 0, done.stdout
    after = pd.read_parquet(folder / "results/tables/train.parquet")
    assert list(after.index[after["sha256"] != before["sha256"]]) == list(
        before.index[before["image_file"] == before["image_file"][0]]
    )
    assert plan(folder, TARGET).jobs == {}, "it is not found again"
    file.write_bytes(old)
    assert plan(folder, TARGET).direct == {"validate_tables"}, "the old picture is a change, too"
    assert snakemake(folder, "--cores", "1", TARGET).returncode == 0
    assert pd.read_parquet(folder / "results/tables/train.parquet").equals(before)
    assert plan(folder).jobs == {}, "all is as it was"
