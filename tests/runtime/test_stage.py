"""A stage reports its end once: an error that the user can fix as one message, any other with its traceback."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from polars.exceptions import ComputeError

from places import SCRIPTS
from vqaflow.reporting.closing_line import error_lines
from vqaflow.runtime.errors import OutOfMemory, UserError
from vqaflow.runtime.files import atomic_folder, atomic_path, write_text
from vqaflow.runtime.stage import CLOSING, RUN_STARTED, log, stage
from workflow_world import copy_workflow, snakemake

FULL = Path("/dev/full")  # writing to it fails as on a full disk


def ended(log_file: Path, work, capsys) -> str:
    """What a stage that does `work` prints; it must end with exit status 1."""
    with pytest.raises(SystemExit) as end, stage(log_file):
        work()
    assert end.value.code == 1
    return capsys.readouterr().err


def test_an_unexpected_error_is_reported_once(tmp_path):
    """Pages of a traceback hide what is to be done; the log must contain it, and Snakemake must see a failure."""
    script = tmp_path / "stage.py"
    script.write_text("from vqaflow.runtime.stage import stage\nwith stage('a.log'):\n    1 / 0\n", encoding="utf-8")
    paths = {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, str(script)]
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout == ""
    told = "error: vqaflow/runtime/stage.py line "
    assert run.stderr.count("\n") == 1 and told in run.stderr
    assert "an unexpected error, ZeroDivisionError (division by zero). Its traceback is in a.log" in run.stderr
    logged = (tmp_path / "a.log").read_text(encoding="utf-8")
    assert logged.count("Traceback") == 1 and "line 3" in logged
    assert error_lines(tmp_path, 0) == [run.stderr[run.stderr.index("error: ") :].rstrip()]


def replace_folder(folder: Path) -> None:
    with atomic_path(folder):
        pass


def replace_file(file: Path) -> None:
    with atomic_folder(file / "inside"):
        pass


def fill_disk(file: Path) -> None:
    with atomic_path(file), FULL.open("w") as full:
        full.write("x")


def fail_as_polars(file: Path) -> None:
    with atomic_path(file):
        raise ComputeError("parquet: underlying IO error: No space left on device (os error 28)")


def fail_as_torch(file: Path) -> None:
    with atomic_path(file):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 704 vs 598")


def fail_as_torch_on_full_disk(file: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
        fail_as_torch(file)


def refuse(number: int, path: Path):
    raise OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("work", "place", "what"),
    [
        (replace_folder, "out", "it is a folder where a file should be"),
        (replace_file, "file", "something of another kind already has this name"),
        (lambda path: write_text(path / "deeper" / "a.txt", "a"), "file", "is a file where a folder should be"),
        (lambda path: refuse(errno.EACCES, path / ".a.csv.x1.csv"), "out", "you do not have permission to read"),
        (lambda path: refuse(errno.EROFS, path / "made" / ".a.x1"), "out", "its disk is read-only"),
        (lambda path: refuse(errno.EDQUOT, path), "out", "your quota on its disk is used up"),
        (lambda path: refuse(errno.ENOSPC, path / ".train.x1" / "a.png"), "out", "its disk is full"),
        (fail_as_polars, "new", "its disk is full"),
        (fail_as_torch_on_full_disk, "new", "its disk is full"),
        pytest.param(
            fill_disk, "new", "its disk is full", marks=pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
        ),
    ],
)
def test_a_place_that_cannot_be_written_is_one_message(tmp_path, capsys, work, place, what):
    """Where, what and what to do, not a library's traceback; the place is the user's, not a temporary name."""
    (tmp_path / "out").mkdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    log_file = tmp_path / "logs" / "a.log"
    told = ended(log_file, lambda: work(tmp_path / place), capsys)
    assert told.count("\n") == 1 and "Traceback" not in told
    assert f"error: {tmp_path / place}" in told and what in told and told.strip().endswith(".")
    assert ".x1" not in told
    assert error_lines(tmp_path / "logs", 0) == [told[told.index("error: ") :].rstrip()]


@pytest.mark.parametrize("work", [lambda path: refuse(errno.ECONNRESET, path), lambda path: fail_as_torch(path / "x")])
def test_an_unknown_error_of_the_system_keeps_its_traceback(tmp_path, capsys, work):
    """A network that fails, for example, is not a file to move out of the way."""
    assert "an unexpected error" in ended(tmp_path / "a.log", lambda: work(tmp_path), capsys)
    assert "Traceback" in (tmp_path / "a.log").read_text(encoding="utf-8")


def test_a_log_that_cannot_be_made_is_one_message(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    told = ended(tmp_path / "file" / "a.log", lambda: None, capsys)
    assert f"error: {tmp_path / 'file'}: " in told and "Traceback" not in told


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_log_on_a_full_disk_says_so_once_and_the_stage_goes_on(capsys):
    """Python would print a page for each line that cannot be logged."""
    with stage(FULL):
        log.info("first")
        log.info("second")
    told = capsys.readouterr().err
    assert told.count("the log cannot be written") == 1 and "Traceback" not in told
    assert "first" in told and "second" in told


def test_an_interrupted_stage_reports_no_error(tmp_path, capsys):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end, stage(tmp_path / "a.log"):
        interrupt()
    told = capsys.readouterr().err
    assert end.value.code == 130 and "interrupted" in told and "Traceback" not in told
    assert error_lines(tmp_path, 0) == []


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UserError("a.csv: x. Do y."), False),
        (UserError("a.csv: x.\n        b.csv: z. Do y."), False),
        (OutOfMemory("row 3: does not fit. Do y."), True),
        (OSError(errno.ENOSPC, "full", "a.bin"), True),
        (ZeroDivisionError("bug"), True),
    ],
)
def test_a_retry_does_not_repeat_what_the_user_must_mend(tmp_path, capsys, monkeypatch, error, again):
    """--retries 2 printed a wrong cell three times, and computed up to it three times; a full disk may be free now."""
    tried = []

    def work():
        tried.append(1)
        raise error

    monkeypatch.setenv(RUN_STARTED, str(time.time() - 5))
    first = ended(tmp_path / "a.log", work, capsys)
    told = (tmp_path / "a.log").read_text(encoding="utf-8")
    second = ended(tmp_path / "a.log", work, capsys)
    assert "error" in first and len(tried) == (2 if again else 1) and bool(second) == again
    assert error_lines(tmp_path, 0) and (again or (tmp_path / "a.log").read_text(encoding="utf-8") == told)
    monkeypatch.setenv(RUN_STARTED, str(time.time() + 5))  # the next run of Snakemake
    assert ended(tmp_path / "a.log", work, capsys)
    monkeypatch.delenv(RUN_STARTED)  # by hand
    assert ended(tmp_path / "a.log", work, capsys)


def test_snakemake_itself_tells_a_user_error_once(tmp_path):
    """With --retries, as profiles for clusters have them."""
    folder = copy_workflow(tmp_path / "workflow")
    (folder / "bad.csv").write_text("id,path,question,a,b,c,d,answer\n1,x.png,q,1,2,3,4,z\n", encoding="utf-8")
    settings = {"data": dict.fromkeys(("train_csv", "test_csv", "sample_submission"), "bad.csv") | {"image_root": "."}}
    (folder / "my.yaml").write_text(yaml.safe_dump(settings | {"model": {"allow_demo_base": True}}), encoding="utf-8")
    target = ["--configfile", "my.yaml", "--retries", "2", "--", "results/tables/train.parquet"]
    done = snakemake(folder, "--cores", "1", *target)
    assert done.returncode != 0 and done.stdout.count("Trying to restart job") == 2
    assert len(re.findall(r"^\d\d:\d\d:\d\d E error: ", done.stdout, re.MULTILINE)) == 1, done.stdout


def test_a_stage_ends_with_one_line(tmp_path, capsys):
    """What was done, how much, and how long it took; a stage that says nothing of itself is still seen to end."""
    with stage(tmp_path / "a.log"):
        log.info("%d rows scored", 300, extra=CLOSING)
        log.info("1 row is left out")
    with stage(tmp_path / "b.log"):
        pass
    with stage(None):  # a command, whose own output is all that a user wants to see
        pass
    told = [line[11:] for line in capsys.readouterr().err.splitlines()]
    assert told == ["1 row is left out", "300 rows scored (0 s)", "done (0 s)"]
    assert (tmp_path / "a.log").read_text(encoding="utf-8").count("300 rows") == 1


def test_a_stage_that_fails_does_not_say_that_it_is_done(tmp_path, capsys):
    def work():
        log.info("300 rows scored", extra=CLOSING)
        raise UserError("a row is missing.")

    assert "scored" not in ended(tmp_path / "a.log", work, capsys)
