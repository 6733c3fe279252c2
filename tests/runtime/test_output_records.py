"""What a job wrote is recorded by its bytes when it ends well, and only then."""

import json

import pytest

from vqaflow.runtime.digests import file_digest, value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.output_records import records_in, rule_of
from vqaflow.runtime.stage import stage


def test_a_job_that_ended_well_records_its_files_and_folders(tmp_path):
    """`vqaflow verify` would have nothing to compare with."""
    results, outside = tmp_path / "results", tmp_path / "elsewhere.csv"
    with stage(
        results / "logs" / "train_adapter" / "main.fold0.log", [results / "adapters", outside, results / "a.csv"]
    ):
        (results / "adapters").mkdir(parents=True)
        for file in (
            results / "adapters" / "run.json",
            results / "adapters" / ".snakemake_timestamp",
            results / "a.csv",
            outside,
        ):
            file.write_text(file.name)
    (record,) = records_in(results)
    assert (
        record == results / "digests" / "train_adapter" / "main.fold0.json"
        and rule_of(record, results) == "train_adapter"
    )
    said = {name: file_digest(results / name) for name in ("adapters/run.json", "a.csv")}
    assert json.loads(record.read_text()) == {"outputs": said, "digest": value_digest(said)}


def test_a_job_that_failed_records_nothing(tmp_path):
    """The record of the job before it still tells of the files that Snakemake restores."""
    (tmp_path / "results").mkdir()
    with pytest.raises(SystemExit), stage(tmp_path / "results" / "logs" / "x.log", [tmp_path / "results" / "x"]):
        (tmp_path / "results" / "x").write_text("half")
        raise UserError("x: wrong. Mend it.")
    assert records_in(tmp_path / "results") == []


def test_a_command_by_hand_records_nothing(tmp_path):
    with stage(None):
        (tmp_path / "x").write_text("x")
    assert list(tmp_path.rglob("*.json")) == []
