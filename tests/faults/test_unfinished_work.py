"""What a killed job has left, or a damaged disk: a run goes on with it only if it is as it was written."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from places import SCRIPTS
from vqaflow.artifacts.adapter_files import write_run
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.artifacts.reading import read_csv_columns, read_yaml
from vqaflow.model.features.folder import DIGEST, FEATURES, FeatureFolder, tensor_digest
from vqaflow.model.pipeline.reading import read_transcript
from vqaflow.reporting.closing_line import closing_line, error_lines
from vqaflow.runtime import run_folder
from vqaflow.runtime.digests import text_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease, holder_of
from vqaflow.runtime.output_records import lock_of
from vqaflow.runtime.run_folder import bring_to_present, write_problem
from vqaflow.runtime.stage import RUN_STARTED, log, stage
from vqaflow.scoring.score_choices import _is_whole
from vqaflow.search.study import load_study, storage
from vqaflow.training.checkpoints import NAME, load_checkpoint, save_checkpoint
from vqaflow.training.settings import chosen_epoch

FUTURE = time.time() + 3 * 24 * 3600


def each_flip(path: Path, count: int):
    """Flip single bits of a file, one at a time, spread over it."""
    data = path.read_bytes()
    for number in range(count):
        changed = bytearray(data)
        place = (number * 8 * len(data)) // count + number % 8
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        yield number
    path.write_bytes(data)


def test_training_does_not_go_on_from_a_checkpoint_with_a_flipped_bit(tmp_path):
    """torch.load does not look at checksums: the weights would be others, and nobody would ever know."""
    weights = torch.linspace(-1, 1, 4096)
    save_checkpoint(tmp_path, "key", {"weights": weights})
    refused = 0
    for _ in each_flip(tmp_path / NAME, 200):
        state = load_checkpoint(tmp_path, "key", {"weights": weights})
        refused += state is None
        assert state is None or torch.equal(state["weights"], weights)
    assert refused > 150
    assert torch.equal(load_checkpoint(tmp_path, "key", {"weights": weights})["weights"], weights)


def test_kept_features_with_a_flipped_bit_are_computed_again(tmp_path):
    """They would be trained on and scored as if the picture were another one."""
    from safetensors.torch import save_file

    features = torch.linspace(-1, 1, 512).reshape(8, 64).to(torch.bfloat16)
    save_file({FEATURES: features}, tmp_path / "a.safetensors", metadata={DIGEST: tensor_digest(features)})
    kept = FeatureFolder.__new__(FeatureFolder)
    kept.folder = tmp_path
    refused = 0
    for _ in each_flip(tmp_path / "a.safetensors", 200):
        found = kept.read("a")
        refused += found is None
        assert found is None or (torch.equal(found, features) and found.dtype == features.dtype)
    assert refused > 150 and torch.equal(kept.read("a"), features)


def test_a_transcript_that_is_cut_short_is_read_again(tmp_path):
    """The text in a picture would be shown to the model without its end."""
    file, text = tmp_path / "a.txt", "두 줄의\n글자"
    assert read_transcript(file) is None
    whole = f"{text_digest(text)}\n{text}".encode()
    file.write_bytes(whole)
    assert read_transcript(file) == text
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert read_transcript(file) is None


def test_a_damaged_shard_is_scored_again(tmp_path):
    """Hours of scoring would end in a message each time until the user deletes a file that he does not know."""
    file = tmp_path / "a.parquet"
    assert not _is_whole(file)
    write_parquet(pd.DataFrame({"id": ["1"], "logit_a": np.float32([1])}), file)
    assert _is_whole(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert not _is_whole(file)


@pytest.mark.parametrize("data", [b"not a database" * 100, b"", None])
def test_a_damaged_study_is_one_message(tmp_path, data):
    """Optuna's own error is a page of SQL."""
    file = tmp_path / "study.db"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(UserError, match=r"study\.db: (is damaged|has no search-1).*run_trials"):
        load_study(file, "search-1")
    if data:
        with pytest.raises(UserError, match="is damaged"):
            storage(file)


def test_a_table_or_settings_that_are_cut_are_named(tmp_path):
    """A cut problems.csv would quarantine fewer rows, and a cut log.csv would choose another epoch."""
    table, settings = tmp_path / "log.csv", tmp_path / "best.yaml"
    table.write_text("epoch,val_accuracy\n1,0.5\n2,0.", encoding="utf-8")
    settings.write_text("parameters: {a: 1", encoding="utf-8")
    with pytest.raises(UserError, match=r"log\.csv: is damaged \(its last line is not whole\)\. Delete it and run"):
        read_csv_columns(table, "train_adapter", ["epoch", "val_accuracy"])
    with pytest.raises(UserError, match=r"best\.yaml: is damaged .* run the rule search_hyperparameters again"):
        read_yaml(settings, "search_hyperparameters", ["parameters"])
    table.write_text("id,severity\nNA,error\n007,warning\n", encoding="utf-8")
    assert list(read_csv_columns(table, "validate_tables", ["id", "severity"], texts=True)["id"]) == ["NA", "007"]
    with pytest.raises(UserError, match="is damaged"):
        read_csv_columns(table, "train_adapter", ["epoch"])


def test_a_log_that_is_cut_at_a_line_is_named(tmp_path):
    """An adapter on all rows would stop at another epoch. Logs that come from elsewhere have no run.json."""
    log_file, lines = tmp_path / "log.csv", ["epoch,val_accuracy\n", "1,0.5\n", "2,0.75\n"]
    log_file.write_text("".join(lines), encoding="utf-8")
    assert chosen_epoch([log_file], "last") == 2
    write_run(tmp_path, {"parity": {}, "versions": {}})
    assert chosen_epoch([log_file], "last") == 2
    log_file.write_text("".join(lines[:2]), encoding="utf-8")
    with pytest.raises(UserError, match=r"log\.csv: is not the file that training wrote .* run the rule train_adapter"):
        chosen_epoch([log_file], "last")
    log_file.unlink()
    with pytest.raises(UserError, match=r"log\.csv: is missing\. Run the rule train_adapter"):
        chosen_epoch([log_file], "last")


def test_a_run_with_damaged_metrics_still_ends_with_a_line(tmp_path):
    """Snakemake would end a finished run with a traceback of ours."""
    metrics = tmp_path / "evaluation" / "metrics.json"
    metrics.parent.mkdir()
    for text in ('{"overall": {"right"', "{}", "null"):
        metrics.write_text(text, encoding="utf-8")
        told = closing_line(tmp_path, 0)
        assert told.startswith("vqaflow: done, but ") and "metrics.json: is damaged" in told and "\n" not in told


def test_an_error_of_the_future_is_not_told_of_this_run(tmp_path):
    """After the clock was set back, last week's error would be told as today's."""
    file = tmp_path / "a.log"
    file.write_text("10:00:00 E error: a.csv: is empty. Fill it.\n", encoding="utf-8")
    assert error_lines(tmp_path, time.time() - 60)
    os.utime(file, (FUTURE, FUTURE))
    assert error_lines(tmp_path, time.time() - 60) == []


def test_a_mended_job_runs_although_the_clock_was_set_back(tmp_path, monkeypatch):
    """A retry of an error that the user must mend ends at once; the next run, at an earlier time, must not."""
    monkeypatch.setenv(RUN_STARTED, str(FUTURE))
    with pytest.raises(SystemExit), stage(tmp_path / "a.log"):
        raise UserError("a.csv: is empty. Fill it.")
    for path in tmp_path.iterdir():
        os.utime(path, (FUTURE + 5, FUTURE + 5))
    monkeypatch.setenv(RUN_STARTED, str(time.time()))
    ran = []
    with stage(tmp_path / "a.log"):
        ran.append(1)
    assert ran


def test_results_of_the_future_are_brought_to_the_present(tmp_path):
    """Snakemake would refuse what jobs make of them as older than its input; the user's own files are his to touch."""
    results, mine = tmp_path / "results", tmp_path / "mine.csv"
    results.mkdir()
    for path in (results / "a.parquet", results / "old.parquet", mine):
        path.write_text("a", encoding="utf-8")
    os.utime(results / "a.parquet", (FUTURE, FUTURE))
    os.utime(results / "old.parquet", (1000, 1000))
    paths = [results / "a.parquet", results / "old.parquet", results / "missing", mine]
    assert bring_to_present(paths, results) == [results / "a.parquet"]
    assert abs((results / "a.parquet").stat().st_mtime - time.time()) < 60
    assert (results / "old.parquet").stat().st_mtime == 1000
    os.utime(mine, (FUTURE, FUTURE))
    with pytest.raises(UserError, match=r"mine\.csv: was changed at .*clock says .*touch .*mine\.csv"):
        bring_to_present(paths, results)
    assert mine.stat().st_mtime == pytest.approx(FUTURE)


JOB = """
import sys, time
from pathlib import Path
from vqaflow.runtime.stage import log, stage
with stage(sys.argv[1]):
    with open(sys.argv[2], "a") as out:
        print("begin", file=out, flush=True)
        while not Path(sys.argv[3]).exists():
            time.sleep(0.02)
        print("end", file=out, flush=True)
"""


def begin_job(folder: Path, until: str) -> subprocess.Popen:
    command = [
        sys.executable,
        "-c",
        JOB,
        str(folder / "results/logs/rule/a.log"),
        str(folder / "told"),
        str(folder / until),
    ]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    with (folder / "printed").open("a") as out:
        return subprocess.Popen(command, env=environment, stdout=out, stderr=out)


def wait_for(file: Path, text: str) -> None:
    end = time.monotonic() + 120
    while not (file.is_file() and text in file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_job_waits_for_the_same_job_that_a_killed_run_left(tmp_path):
    """Both would write the same files, and one would delete what the other still uses."""
    orphan = begin_job(tmp_path, "end")
    wait_for(tmp_path / "told", "begin")
    second = begin_job(tmp_path, "end")
    wait_for(tmp_path / "printed", f"waiting for process {orphan.pid}, which does this job already")
    (tmp_path / "end").touch()
    assert orphan.wait() == second.wait() == 0
    assert (tmp_path / "told").read_text().split() == ["begin", "end"] * 2


def test_a_killed_job_holds_nothing_up(tmp_path):
    job = begin_job(tmp_path, "end")
    wait_for(tmp_path / "told", "begin")
    job.kill()
    job.wait()
    (tmp_path / "end").touch()
    assert begin_job(tmp_path, "end").wait() == 0
    assert "waiting" not in (tmp_path / "printed").read_text()


def test_jobs_of_one_rule_do_not_wait_for_each_other():
    locks = {lock_of(Path(f"results/logs/rule/{name}.log")) for name in ("main.fold0", "main.fold1")}
    assert len(locks) == 2 and all(str(lock).startswith("results/work/jobs/rule/main.fold") for lock in locks)
    assert lock_of(Path("elsewhere.log")) is None


def test_the_holder_of_a_lock_is_named(tmp_path):
    lease = Lease(tmp_path / "a.lock")
    assert holder_of(make(tmp_path / "b.lock")) == "another process"
    assert lease.take()
    assert holder_of(tmp_path / "a.lock") == f"process {os.getpid()}"
    lease.release()


def make(path: Path) -> Path:
    path.touch()
    return path


def test_a_log_that_was_kept_is_shown_again(tmp_path, monkeypatch):
    """Snakemake has removed the log before it tries again: the error must stand in it at the end."""
    monkeypatch.setenv(RUN_STARTED, "5.0")
    for _ in range(2):
        with pytest.raises(SystemExit), stage(tmp_path / "a.log"):
            log.info("one row read")
            raise UserError("a.csv: is empty. Fill it.")
        text = (tmp_path / "a.log").read_text(encoding="utf-8")
        assert "one row read" in text and "error: a.csv" in text and "5.0" not in text
        (tmp_path / "a.log").unlink()
    assert [path.name for path in tmp_path.iterdir()] == [".a.log.told"]


def exhaust_torch() -> None:
    torch.empty(2**60)


def exhaust_numpy() -> None:
    np.empty(2**45)


def exhaust_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nmore lines")


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (exhaust_torch, "this machine's memory is full"),
        (exhaust_numpy, "this machine's memory is full"),
        (exhaust_gpu, "the GPU's memory is full (CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_full_memory_outside_a_step_is_one_message(tmp_path, capsys, work, words):
    """Loading a base that is too large, or beside another program, ended in a page of torch's own code."""
    with pytest.raises(SystemExit) as end, stage(tmp_path / "a.log"):
        work()
    told = capsys.readouterr().err
    assert end.value.code == 1 and told.count("\n") == 1 and "Traceback" not in told
    assert f"error: {words}" in told and "). End " in told


def test_why_outputs_cannot_be_replaced(tmp_path, monkeypatch):
    """Snakemake says neither why nor what to do; what others protect is theirs."""
    folder = tmp_path / "results" / "eda"
    folder.mkdir(parents=True)
    file = tmp_path / "results" / "submission.csv"
    file.write_text("id,answer\n", encoding="utf-8")
    assert write_problem([folder, file, tmp_path / "gone"], [tmp_path / "results"]) is None

    def refuse(number):
        def fails(*_, **__):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "open", fails)
        monkeypatch.setattr(run_folder.tempfile, "TemporaryFile", fails)

    refuse(errno.EROFS)
    cure = "Use a place on a disk that you can write to."
    for path in (folder, file):
        assert write_problem([path], [tmp_path / "results"]) == f"{path}: its disk is read-only. {cure}"
    assert write_problem([file], [tmp_path / "others"]) is None
    refuse(errno.EIO)
    assert write_problem([file], [tmp_path / "results"]) is None
