"""A teacher and its pupil in a whole small run: `main` has finished, then `pupil` is added, which learns from it."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from places import takes_minutes
from vqaflow.artifacts.adapter_files import read_run
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.rows import Row, contents, rows_of
from vqaflow.evaluation.verify.verify import CHECKS, verify
from vqaflow.runtime.digests import value_digest
from workflow_world import finished_workflow, snakemake

pytestmark = pytest.mark.slow
PUPIL = {"train": {"teacher": "main", "epochs": 1}}
P = ["p_a", "p_b", "p_c", "p_d"]


def run(folder: Path, members: Mapping[str, object], *options: str) -> str:
    """What Snakemake prints of a run of these members."""
    (folder / "members.yaml").write_text(yaml.safe_dump({"members": members}), encoding="utf-8")
    done = snakemake(folder, "--cores", "1", *options, "--configfile", "members.yaml")
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where main has taught pupil."""
    made = finished_workflow(tmp_path_factory.getbasetemp())
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("teacher") / "workflow"))
    printed = run(folder, {"pupil": PUPIL})
    assert "Training the adapter of pupil" in printed and "Training the adapter of main" not in printed
    return folder


def said_of(results: Path, member: str = "main") -> dict[str, tuple[float, ...]]:
    """What a member says of each training row."""
    table = pd.read_parquet(results / "members" / member / "oof.parquet")
    return dict(zip(table["id"], map(tuple, table[P].to_numpy().tolist()), strict=True))


def rows_outside(results: Path, fold: int) -> list[Row]:
    """The training rows of the other folds, in the table's order."""
    table = pd.read_parquet(results / "tables" / "train.parquet")
    folds = pd.read_parquet(results / "folds.parquet").set_index("id")["fold"]
    return rows_of(table[table["id"].map(folds) != fold])


def data_of(rows: list[Row], said: Mapping[str, tuple[float, ...]]) -> str:
    """The digest of rows that train with what a teacher says, written down here once more."""
    told = [[*content, "taught", *map(repr, said[row.id])] for row, content in zip(rows, contents(rows), strict=True)]
    return value_digest(told)


def test_a_pupil_learns_from_oof_probabilities_alone(taught: Path) -> None:
    """What a teacher says of rows that it was trained on is its memory of their labels."""
    results = taught / "results"
    folds, said = pd.read_parquet(results / "folds.parquet").set_index("id")["fold"], said_of(results)
    for fold in (0, 1):
        scores = pd.read_parquet(results / f"scores/main/oof/fold{fold}/original.parquet")
        assert set(scores["id"]) == set(folds.index[folds == fold]), "an adapter says only what it was not trained on"
        logits = [f"logit_{letter}" for letter in "abcd"]
        for row_id, shown in scores.groupby("id"):
            logp_KC = shown[logits].to_numpy(float)
            logp_KC = logp_KC - np.log(np.exp(logp_KC).sum(1, keepdims=True))
            p_C = np.exp(logp_KC.mean(0)) / np.exp(logp_KC.mean(0)).sum()
            assert np.allclose(said[row_id], p_C, atol=1e-5)
        rows = rows_outside(results, fold)
        assert read_run(results / f"adapters/pupil/fold{fold}")["data"] == data_of(rows, said)
        plain = value_digest(contents(rows))
        assert read_run(results / f"adapters/main/fold{fold}")["data"] == plain != data_of(rows, said)


def test_a_run_with_a_pupil_passes_and_says_that_it_was_taught(taught: Path) -> None:
    found = {name: (state, text) for name, state, text in verify(taught / "results")}
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(CHECKS, "ok"), found
    note = json.loads((taught / "results/members/pupil/member.json").read_text(encoding="utf-8"))
    assert note["teacher"] == "main" and "do not choose by it" in note["note"]


def test_a_teachers_answer_that_was_changed_is_found(taught: Path) -> None:
    """By the pupil's adapters that learned from it: those of the folds that train on the row."""
    path = taught / "results/members/main/oof.parquet"
    before, times = path.read_bytes(), path.stat()
    table = pd.read_parquet(path)
    table.loc[0, P] = np.roll(table.loc[0, P].to_numpy(float), 1)
    write_parquet(table, path)
    fold = pd.read_parquet(taught / "results/folds.parquet").set_index("id")["fold"][table["id"][0]]
    found = {name: text for name, state, text in verify(taught / "results") if state == "FAILED"}
    path.write_bytes(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    words = "the adapter was trained on other rows, labels or teacher's answers than are there now"
    assert f"adapters/pupil/fold{1 - fold}/run.json: {words}" in found["adapters"]
    assert "members/main/oof.parquet" in found["bytes"]


@takes_minutes
def test_a_changed_teacher_trains_its_pupil_again(taught: Path) -> None:
    """Its orders change what it says, not its adapters: they stay, and the pupil's are made of the new answers."""
    results, before = taught / "results", read_run(taught / "results/adapters/pupil/fold0")
    main = read_run(results / "adapters/main/fold0")
    printed = run(taught, {"main": {"orders": "identity"}, "pupil": PUPIL | {"orders": "cyclic"}})
    assert printed.count("Training the adapter of pupil") == 2 and "Training the adapter of main" not in printed
    after = read_run(results / "adapters/pupil/fold0")
    assert after["data"] == data_of(rows_outside(results, 0), said_of(results)) != before["data"]
    assert read_run(results / "adapters/main/fold0") == main
    assert not [text for _, state, text in verify(results) if state != "ok"]
