"""A real competition's tables, whole: what is wrong in them must be named, and all the rest be used."""

import json
import logging
import shutil
from collections import Counter
from csv import DictReader
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from competition import replaced_classifier
from places import REAL_DATA, ROOT
from vqaflow.config.loading import checked_config
from vqaflow.data.exploration.explore_data import explore_data
from vqaflow.data.folds.make_folds import make_folds
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.runtime.errors import UserError

TABLES = REAL_DATA / "recycling2026"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.skipif(not TABLES.is_dir(), reason="VQAFLOW_REAL_DATA names no folder with recycling2026"),
]
SHARES = ["share_a", "share_b", "share_c", "share_d"]


def make_images(folder: Path) -> None:
    """The photographs that are there; in place of each other one a small picture of its own."""
    number = 0
    for name in ("train", "dev", "test"):
        (folder / name).mkdir(parents=True)
        with (TABLES / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
            paths = sorted({row["path"] for row in DictReader(file)})
        for path in paths:
            if (TABLES / path).is_file():
                shutil.copyfile(TABLES / path, folder / path)
                continue
            number += 1
            values = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(values).resize((32, 32), Image.Resampling.NEAREST).save(folder / path, "JPEG", quality=60)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The pictures, the settings, and where the tables go."""
    folder = tmp_path_factory.mktemp("recycling")
    make_images(folder / "images")
    data = {
        "train_csv": str(TABLES / "train.csv"),
        "test_csv": str(TABLES / "test.csv"),
        "sample_submission": str(TABLES / "example_submission.csv"),
        "image_root": str(folder / "images"),
        "more_train": [{"csv": str(TABLES / "dev.csv")}],
    }
    (folder / "my.yaml").write_text(
        yaml.safe_dump({"data": data, "model": {"allow_demo_base": True}}), encoding="utf-8"
    )
    return folder


def validate(folder: Path, on_bad_row: str) -> None:
    config = checked_config(ROOT / "config.yaml", folder / "my.yaml")
    given = config["data"] | {"normal_form": config["prompt"]["normal_form"], "on_bad_row": on_bad_row}
    names = ("train.parquet", "test.parquet", "problems.csv", "labels.json")
    files = TableFiles(*(folder / "tables" / name for name in names))
    validate_tables(RawFiles.read(given), TableSettings.read(given, ()), files)


def test_the_rows_that_cannot_be_used_stop_the_run(world):
    """One row without its answer, and one that nobody answered, of 9,486."""
    with replaced_classifier(), pytest.raises(UserError) as error:
        validate(world, "stop")
    message = str(error.value)
    assert "tables: 2 problems (2 empty_cell)" in message
    assert "train.csv line 2126, id 'train_2125.jpg', column answer: the cell is empty. Fill it in" in message
    assert "dev.csv line 4363, id 'dev_4362.jpg': nobody has answered" in message
    assert "'answer5'" not in message and "Is it" not in message


def test_all_other_rows_are_used_up_to_folds_and_figures(world, caplog):
    caplog.set_level(logging.INFO)
    validate(world, "quarantine")
    told = "there is no column 'answer'; answer1 to answer5 are read as the answers of 5 people (data.answers_by)"
    assert f"{TABLES / 'dev.csv'}: {told}" in caplog.messages
    tables = world / "tables"
    train, test = pd.read_parquet(tables / "train.parquet"), pd.read_parquet(tables / "test.parquet")
    assert Counter(train["source"]) == {"train": 5072, "dev": 4412} and len(test) == 500 and test["usable"].all()
    assert train["id"].is_unique and np.allclose(train[SHARES].sum(axis=1), 1)
    dev = train[train["source"] == "dev"]
    assert dev["people"].between(3, 5).all() and (train["people"][train["source"] == "train"] == 1).all()
    most = dev[SHARES].max(axis=1)
    assert all(dev[f"share_{answer}"][i] == most[i] for i, answer in dev["answer"].items())
    problems = pd.read_csv(tables / "problems.csv", dtype=str, keep_default_na=False)
    found = Counter(zip(problems["kind"], problems["id"], strict=True))
    assert {("ambiguous_answer", "train_4196.jpg"), ("equal_choices", "test_0198.jpg")} < found.keys()
    assert ("ambiguous_answer", "dev_4267.jpg") in found and sum(found.values()) == 7
    labels = json.loads((tables / "labels.json").read_text(encoding="utf-8"))
    assert labels["submission"] == {x: x for x in "abcd"} and list(labels["more_train"]) == ["dev"]
    check_folds_and_figures(world, len(train))


def check_folds_and_figures(world: Path, rows: int) -> None:
    """Folds and EDA of the tables."""
    train, test = world / "tables" / "train.parquet", world / "tables" / "test.parquet"
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["folds"]
    folds, report = world / "folds.parquet", world / "folds.report.json"
    make_folds(train=train, test=test, **settings, folds_out=folds, report_out=report)
    assert len(pd.read_parquet(folds)) == rows and json.loads(report.read_text())["rows"] == rows
    limits = {"min_pixels": 12544, "max_pixels": 50176, "token_pixels": 28}
    explore_data(train=train, test=test, folds=folds, **limits, out_dir=world / "eda")
    assert json.loads((world / "eda" / "summary.json").read_text(encoding="utf-8"))["rows"]["train"] == rows
