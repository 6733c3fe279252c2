"""Quarantine is for single bad rows; and a cause that thousands of rows share is told once."""

import re

import pytest
from PIL import Image

from competition import Competition, replaced_classifier
from places import REAL_DATA, needs_real_data
from vqaflow.config.sections import ColumnsConfig
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log


@pytest.fixture
def data(tmp_path):
    return Competition(tmp_path, rows=40)


def lose(data, split, count):
    """Remove the images of the first rows of a table."""
    for row in getattr(data, split)[:count]:
        (data.folder / row["path"]).unlink()


@pytest.mark.parametrize("split", ["train", "test"])
def test_quarantine_stops_where_most_images_are_missing(data, split):
    """It went on with 9 of 5,073 rows and one warning: hours of training on nothing, for a wrong folder."""
    lose(data, split, 35)
    (data.folder / data.train[39]["path"]).write_bytes(b"")
    message = data.fail(on_bad_row="quarantine", max_quarantined=0.05)
    bad = 36 if split == "train" else 35
    assert f"{split}.csv: {bad} of 40 rows ({bad / 40:.1%}) cannot be used" in message
    assert "more than data.max_quarantined = 0.05 (5%)" in message and "35 times (image_missing)" in message
    assert "first in line 2" in message and "problems.failed.csv lists all" in message
    assert "raise data.max_quarantined" in message and "\n" not in message
    assert len(data.problems("problems.failed")) == 36
    assert not (data.folder / "out/train.parquet").exists()


def test_quarantine_goes_on_up_to_the_share(data):
    lose(data, "train", 2)
    train, _ = data.run(on_bad_row="quarantine", max_quarantined=0.05)
    assert len(train) == 38 and not (data.folder / "out/problems.failed.csv").exists()
    lose(data, "test", 3)
    assert "3 of 40 rows (7.5%)" in data.fail(on_bad_row="quarantine", max_quarantined=0.05)
    train, test = data.run(on_bad_row="quarantine", max_quarantined=0.1)
    assert len(train) == 38 and int(test["usable"].sum()) == 37


def test_a_row_with_two_problems_counts_once(data):
    lose(data, "train", 2)
    for row in data.train[:2]:
        row["answer"] = "x"
    assert len(data.run(on_bad_row="quarantine", max_quarantined=0.05)[0]) == 38


def test_equal_problems_are_shown_once(data):
    """5,556 lines of one cause hid the others."""
    lose(data, "train", 29)
    data.train[29]["path"] = "another name.png"
    data.train[33]["answer"] = "x"
    data.train[35]["id"], data.train[37]["id"] = data.train[34]["id"], data.train[36]["id"]
    message = data.fail()
    assert len(message.splitlines()) == 5, message
    assert message.count("there is no file") == 1 and "The same 29 times more: lines 3, 4, 5, …." in message
    assert "33 problems (30 image_missing, 2 duplicate_id, 1 answer_value)" in message
    assert re.search(r"line 36 has the same id .*The same 1 times more: line 39\.", message), message
    assert len(data.problems()) == 33


def test_what_was_left_out_is_told_after_the_run(data, caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    lose(data, "train", 2)
    Image.new("RGB", (8, 8)).save(data.folder / "train/train_0005.png", format="JPEG")
    data.run(on_bad_row="quarantine", max_quarantined=0.05)
    told = list({record.getMessage() for record in caplog.records if "not usable" in record.getMessage()})
    assert len(told) == 1 and "there is no file" in told[0] and "The same 1 times more: line 3." in told[0]


@needs_real_data
def test_a_real_competition_of_which_most_photographs_are_missing(tmp_path):
    """26 of its 9,986 photographs are there; it went on with 9 training rows."""
    folder, out = REAL_DATA / "recycling2026", tmp_path / "out"
    out.mkdir()
    raw = RawFiles(folder / "train.csv", folder / "test.csv", folder / "example_submission.csv", folder)
    settings = TableSettings(ColumnsConfig(), on_bad_row="quarantine", normal_form="NFKC", max_image_pixels=10**8)
    files = TableFiles(*(out / name for name in ("train.parquet", "test.parquet", "problems.csv", "labels.json")))
    with replaced_classifier(), pytest.raises(UserError) as caught:
        validate_tables(raw, settings, files)
    assert "train.csv: 5,064 of 5,073 rows (99.8%) cannot be used" in str(caught.value)
    assert "5,064 times (image_missing)" in str(caught.value)
    assert files.failed.read_text(encoding="utf-8").count(",image_missing,error\n") == 5556
