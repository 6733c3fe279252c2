"""Parquet of our own: a flipped bit must stop a rule, and never be read as another answer, fold or probability."""

import random

import numpy as np
import pandas as pd
import polars as pl
import pytest

import results_world
from vqaflow.artifacts.parquet_files import READ_ERRORS, as_arrow, parquet_writer, read_slice, write_parquet
from vqaflow.artifacts.reading import read_table
from vqaflow.artifacts.score_files import (
    ScoreFile,
    read_about,
    read_logits,
    read_transcripts,
    row_index,
    scores_frame,
    write_scores,
)
from vqaflow.runtime.errors import UserError

FLIPS = 400
ORDERS = ("abcd", "bcda")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return results_world.make_table("train", 120, tmp_path_factory.mktemp("table"))


def flipped(data, seed):
    """The bytes with one bit flipped, and where."""
    changed = bytearray(data)
    place = random.Random(seed).randrange(8 * len(data))
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed), place // 8


def test_no_flipped_bit_of_a_table_is_read_as_other_data(table, tmp_path):
    """Without checksums of pages, 226 of 400 were."""
    path = tmp_path / "train.parquet"
    write_parquet(table, path)
    data, refused = path.read_bytes(), 0
    assert read_table(path, "validate_tables").equals(table)
    for seed in range(FLIPS):
        changed, place = flipped(data, seed)
        path.write_bytes(changed)
        try:
            found = read_table(path, "validate_tables")
        except UserError as error:
            assert str(path) in str(error) and "Delete it and run the rule validate_tables again" in str(error)
            refused += 1
            continue
        assert found.equals(table) and list(found.dtypes) == list(table.dtypes), f"byte {place} of {len(data)}"
    assert refused > 0.85 * FLIPS


def test_no_flipped_bit_of_scores_is_read_as_other_scores(tmp_path):
    path = tmp_path / "original.parquet"
    logits_NKC = np.random.default_rng(0).normal(size=(50, 2, 4)).astype(np.float32)
    ids = [f"r{i}" for i in range(50)]
    write_scores(scores_frame(ids, ORDERS, logits_NKC), {"adapter": "x", "rows": "y"}, path)
    data, file, index = path.read_bytes(), ScoreFile("main", "oof", "0", "original", path), row_index(ids)
    assert read_about(path) == {"adapter": "x", "rows": "y"}
    for seed in range(FLIPS):
        path.write_bytes(flipped(data, seed)[0])
        try:
            found = read_logits(file, index).logits_NKC
        except UserError:
            continue
        assert np.array_equal(found, logits_NKC), seed


@pytest.mark.parametrize(("start", "rows"), [(0, None), (0, 3), (2, 4), (5, 5), (9, 1), (0, 10)])
def test_a_slice_is_those_rows_whatever_the_row_groups(tmp_path, start, rows):
    """Members' test rows are read one part at a time; another part's rows would be pooled in its place."""
    whole = pl.DataFrame({"id": [f"r{i}" for i in range(10)], "x": np.arange(10.0), "y": [None, 1.0] * 5})
    with parquet_writer(tmp_path / "t.parquet", as_arrow(whole).schema) as write:
        for first, count in ((0, 3), (3, 3), (6, 4)):
            write(as_arrow(whole.slice(first, count)))
    found = read_slice(tmp_path / "t.parquet", ["y", "id"], start, rows)
    assert found.equals(whole.select("y", "id").slice(start, rows))
    with pytest.raises(READ_ERRORS, match="no column z"):
        read_slice(tmp_path / "t.parquet", ["id", "z"], 0, None)


def test_the_bytes_are_the_same_each_time(table, tmp_path):
    for name in ("a", "b"):
        write_parquet(table, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_transcripts_are_read_with_checksums_too(tmp_path):
    path = tmp_path / "read.parquet"
    frame = scores_frame(["r0", "r1"], ORDERS, np.zeros((2, 2, 4), np.float32))
    write_scores(frame.assign(transcript=["출구", "출구", "", ""]), {}, path)
    assert read_transcripts(ScoreFile("main", "oof", "0", "read", path)) == {"r0": "출구", "r1": ""}
    assert isinstance(pd.read_parquet(path)["transcript"][0], str)
