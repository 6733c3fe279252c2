"""Copies with other bytes: what a model would be asked that it has learned by heart."""

import json
import logging

import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vqaflow.artifacts.columns import LETTERS
from vqaflow.data.folds.copies import TURN_BITS, TURNS, equal_pixels, turned_copies, turned_hashes
from vqaflow.data.folds.groups import row_groups
from vqaflow.data.folds.make_folds import make_folds
from vqaflow.data.images.decoding import inspect_image, open_image
from vqaflow.data.images.near_duplicates import hash_numbers


def photo(seed, width=160, height=120):
    small = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def table_of(folder, pictures):
    """A training table of pictures by file name, each with its own question."""
    rows = []
    for number, (name, (image, options)) in enumerate(pictures.items()):
        image.save(folder / name, **options)
        facts = inspect_image(folder / name, 10**6)
        row = {"id": f"r{number}", "image_file": str(folder / name), "question": f"{number}?", "qtype": "general"}
        row |= {letter: f"{letter}{number}" for letter in LETTERS} | {"answer": LETTERS[number % 4]}
        rows.append(row | {"sha256": facts.sha256, "phash": facts.phash, "width": facts.width, "height": facts.height})
    return pd.DataFrame(rows)


def test_equal_pixels_in_other_bytes_share_a_fold(tmp_path):
    """A PNG that was saved again, or as WebP: nobody sees a difference, and the digests differ."""
    pictures = {
        "a.png": (photo(0), {}),
        "other.png": (photo(1), {}),
        "again.png": (photo(0), {"compress_level": 1}),
        "a.webp": (photo(0), {"lossless": True}),
        "a.bmp": (photo(0), {}),
        "flat.png": (Image.new("RGB", (20, 20), "red"), {}),
        "flat2.png": (Image.new("RGB", (20, 20), "blue"), {}),
    }
    table = table_of(tmp_path, pictures)
    assert list(row_groups(table, ["image"], 0)) == [0, 1, 0, 0, 0, 2, 3]
    assert list(row_groups(table, ["question"], 0)) == list(range(7))
    assert table["phash"][5] == table["phash"][6], "else the flat ones are no test of the pixels"


def test_pictures_that_cannot_be_read_are_told(tmp_path, caplog):
    """The folds are those of equal bytes then; and the run goes on, as on a machine without the pictures."""
    table = table_of(tmp_path, {"a.png": (photo(0), {}), "b.png": (photo(0), {"compress_level": 1})})
    (tmp_path / "b.png").unlink()
    assert list(equal_pixels(table)) == [] and "1 pictures cannot be read" in caplog.text


@pytest.mark.parametrize("how", TURNS)
def test_the_hash_of_a_turned_picture_follows_from_its_own(how):
    turned = [photo(seed).transpose(TURNS[how]) for seed in range(20)]
    given, right = (
        hash_numbers(str(imagehash.phash(image)) for image in images) for images in (map(photo, range(20)), turned)
    )
    predicted = turned_hashes(given, TURNS[how])
    assert np.bitwise_count(predicted ^ right).max() <= TURN_BITS
    assert np.median(np.bitwise_count(given ^ right)) > 2 * TURN_BITS


@pytest.mark.parametrize("how", TURNS)
def test_turned_copies_are_found_though_they_were_saved_small_and_as_jpeg(tmp_path, how):
    """People augment by hand, and scrape pictures that were mirrored; a fold then validates on its training rows."""
    pictures = {f"{seed}.png": (photo(seed), {}) for seed in range(12)}
    copy = photo(5).transpose(TURNS[how])
    pictures["copy.jpg"] = (copy.resize((copy.width // 2, copy.height // 2)), {"quality": 70})
    found = turned_copies(table_of(tmp_path, pictures))
    assert [(pair.one, pair.other) for pair in found] == [(5, 12)] and found[0].how == how


def test_symmetric_pictures_are_no_turned_copies(tmp_path):
    """A red circle is its own mirror image; each other circle would be reported."""
    half = np.asarray(photo(3, 80, 120))
    image = Image.fromarray(np.hstack([half, half[:, ::-1]]))
    table = table_of(tmp_path, {"a.png": (image, {}), "b.jpg": (image, {"quality": 80}), "c.png": (photo(1), {})})
    assert turned_copies(table) == []


def test_the_report_names_turned_copies_in_different_folds(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    pictures = {f"{seed}.png": (photo(seed), {}) for seed in range(8)}
    pictures |= {f"m{seed}.png": (photo(seed).transpose(Image.Transpose.FLIP_LEFT_RIGHT), {}) for seed in range(8)}
    table = table_of(tmp_path, pictures)
    table.to_parquet(tmp_path / "train.parquet")
    table.head(1).assign(id="t", sha256="0" * 64, phash="f" * 16).to_parquet(tmp_path / "test.parquet")
    out = {"folds_out": tmp_path / "folds.parquet", "report_out": tmp_path / "report.json"}
    make_folds(
        train=tmp_path / "train.parquet",
        test=tmp_path / "test.parquet",
        n=2,
        seed=0,
        group_by=["image"],
        near_distance=0,
        **out,
    )
    folds = pd.read_parquet(out["folds_out"])["fold"]
    apart = [seed for seed in range(8) if folds[seed] != folds[seed + 8]]
    report = json.loads(out["report_out"].read_text())["turned_copies"]
    assert report["pairs"] == 8 and report["in_different_folds"] == len(apart) > 0
    first = {"train": f"r{apart[0]}", "copy": f"r{apart[0] + 8}", "how": "mirrored left to right"}
    assert report["examples"][0] == first and open_image(table["image_file"][0]).size == (160, 120)
