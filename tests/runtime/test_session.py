"""`vqaflow session` on small commands: when it stops them, what it says and returns, and what it keeps."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from places import SCRIPTS
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.session import bounded
from vqaflow.runtime.session.bounded import NO_COMMAND, STOPPED, Limits, Session
from vqaflow.runtime.session.kept import LIST, bring_back, is_fresh, keep, object_of, read_kept

# Makes a result, then works on until it is told to stop, and saves what it has.
TRAINING = """
import pathlib, signal, sys, time
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/first.txt").write_text("first")
def stop(*_):
    pathlib.Path("results/checkpoint").write_text("step 7")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
pathlib.Path("begun").touch()
time.sleep(600)
"""
STUBBORN = "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + (
    "pathlib.Path('begun').touch()\ntime.sleep(600)\n"
)


def session(folder: Path, program: str, *options: str) -> subprocess.Popen:
    """Start the command in `folder`, around a program in Python."""
    words = [
        sys.executable,
        "-m",
        "vqaflow",
        "session",
        "--keep",
        "kept",
        *options,
        "--",
        sys.executable,
        "-c",
        program,
    ]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    return subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(run: subprocess.Popen) -> tuple[int, str]:
    printed, _ = run.communicate(timeout=300)
    return run.returncode, printed


def wait_for(path: Path) -> None:
    end = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.02)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_command_is_stopped_before_the_hours_are_over(tmp_path):
    """Else the service ends the machine, and what was computed since the last checkpoint is lost."""
    run = session(tmp_path, TRAINING, "--hours", f"{60 / 3600}", "--margin", f"{50 / 60}")
    status, printed = ended(run)
    assert status == STOPPED == 75
    assert {"results/checkpoint", "results/first.txt"} == read_kept(tmp_path / "kept").entries.keys()
    assert "stopped in time" in printed and "--from kept" in printed


def test_a_finished_command_is_not_called_stopped(tmp_path):
    status, printed = ended(session(tmp_path, "print('all done')", "--hours", "1"))
    assert status == 0 and "session: finished" in printed and "all done" in printed


@pytest.mark.parametrize(
    ("program", "expected"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_failed_command_keeps_its_exit_status_and_what_it_made(tmp_path, program, expected):
    """A notebook that took it for stopped would start the same failure again, session after session."""
    made = "import pathlib; pathlib.Path('results').mkdir(); pathlib.Path('results/a').write_text('a'); "
    status, printed = ended(session(tmp_path, made + program, "--hours", "1"))
    assert status == expected
    assert f"failed (exit status {expected})" in printed and "--from kept" in printed
    assert [*read_kept(tmp_path / "kept").entries] == ["results/a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_session_stops_its_command_in_good_order(tmp_path, number):
    """As when a notebook's run is cancelled by hand."""
    run = session(tmp_path, TRAINING, "--hours", "1")
    wait_for(tmp_path / "begun")
    run.send_signal(number)
    assert ended(run)[0] == STOPPED
    assert (tmp_path / "results/checkpoint").read_text() == "step 7"


def test_what_does_not_stop_is_killed_and_its_locks_are_removed(tmp_path):
    """The time for keeping must not be spent on waiting, and the next run must not find Snakemake's locks."""
    write(tmp_path, {".snakemake/locks/0.output.lock": "results/a"})
    run = session(tmp_path, STUBBORN, "--hours", "1")
    wait_for(tmp_path / "begun")
    run.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    status, printed = ended(run)
    assert status == STOPPED and "1 processes did not stop in time" in printed
    assert not (tmp_path / ".snakemake/locks").exists()


def test_a_command_that_is_not_there_is_one_message(tmp_path):
    words = [sys.executable, "-m", "vqaflow", "session", "--hours", "1", "--keep", "kept", "--", "snakemakee"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == NO_COMMAND and "Traceback" not in done.stderr
    assert "error: snakemakee: cannot be started (" in done.stderr


def test_it_keeps_while_the_command_runs(tmp_path):
    """A machine may be lost at any time, without a signal."""
    run = session(tmp_path, TRAINING, "--hours", "1", "--every", f"{0.2 / 60}")
    wait_for(tmp_path / "kept" / LIST)
    end = time.monotonic() + 300
    while "results/first.txt" not in read_kept(tmp_path / "kept").entries:
        assert time.monotonic() < end
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    ended(run)


def test_limits_that_leave_no_time_are_refused(tmp_path):
    with pytest.raises(UserError, match=re.escape("--hours 0.25: leaves no time")):
        Session(["true"], Limits(900, 1200, 60), tmp_path / "kept", tmp_path)


@pytest.mark.parametrize("folder", ["results", "results/kept", ".snakemake/kept"])
def test_a_folder_that_would_keep_itself_is_refused(tmp_path, folder):
    with pytest.raises(UserError, match="--keep .*: lies among the files that it keeps"):
        Session(["true"], Limits(3600, 60, 60), tmp_path / folder, tmp_path)


def test_a_misspelt_source_is_refused(tmp_path):
    """The run would begin from nothing without a word."""
    mine = Session(["true"], Limits(3600, 60, 60), tmp_path / "kept", tmp_path)
    with pytest.raises(UserError, match="--from .*elsewhere: no session has kept anything there"):
        mine.bring_back(tmp_path / "elsewhere")
    mine.bring_back(tmp_path / "kept")  # of the first session


FILES = {
    "results/adapters/main/fold0/run.json": "run",
    "results/adapters/main/fold0/.snakemake_timestamp": "",
    "results/store/ab/run.json": "run",
    ".snakemake/metadata/cmVzdWx0cw==": "notes",
    ".snakemake/incomplete/b3RoZXI=": "",
}


def test_files_come_back_as_they_were(tmp_path):
    """Bytes, hidden files and times: a service may lose the last two, and Snakemake would run all jobs again."""
    write(tmp_path / "one", FILES)
    (tmp_path / "one/results/empty").mkdir()
    for number, name in enumerate(FILES):
        os.utime(tmp_path / "one" / name, ns=(10**18 + number, 10**18 + number))
    kept = keep(tmp_path / "one", tmp_path / "kept")
    assert kept.entries.keys() == FILES.keys()
    hidden = [path for path in (tmp_path / "kept").rglob("*") if path.name.startswith(".")]
    assert not hidden
    for path in (tmp_path / "kept").rglob("*"):
        os.utime(path)
    assert is_fresh(tmp_path / "two")
    assert bring_back(tmp_path / "kept", tmp_path / "two") == []
    for name in FILES:
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        assert (two.read_bytes(), two.stat().st_mtime_ns) == (one.read_bytes(), one.stat().st_mtime_ns)
    assert (tmp_path / "two/results/empty").is_dir()
    assert not is_fresh(tmp_path / "two")


def test_equal_files_are_kept_once_and_old_ones_removed(tmp_path):
    """Outputs are limited to 20 GB: the store's copy of an adapter must not count twice, nor last hour's checkpoint."""
    write(tmp_path, FILES | {"results/work/train/checkpoint.pt": "old"})
    keep(tmp_path, tmp_path / "kept")
    write(tmp_path, {"results/work/train/checkpoint.pt": "new"})
    kept = keep(tmp_path, tmp_path / "kept")
    stored = {path.read_text() for path in (tmp_path / "kept/files").glob("*/*")}
    assert sorted(path.read_text() for path in (tmp_path / "kept/files").glob("*/*")) == sorted(stored)
    assert stored == {"run", "", "notes", "new"}
    assert kept.gigabytes == sum(map(len, stored)) / 1e9


def test_what_is_made_again_or_unfinished_is_not_kept(tmp_path):
    unfinished = "results/ensemble/.test.parquet.a1b2c3d4.parquet"
    write(tmp_path, {unfinished: "", "results/work/vision/images.bin": "", "results/.test.log.told": ""})
    write(tmp_path, {"results/adapters/main/.fold0.abcd_123/run.json": "", "results/.gitkeep": ""})
    assert sorted(keep(tmp_path, tmp_path / "kept").entries) == ["results/.gitkeep", "results/.test.log.told"]


def test_a_machine_lost_while_it_keeps_leaves_the_former_state(tmp_path, monkeypatch):
    write(tmp_path, FILES)
    keep(tmp_path, tmp_path / "kept")
    write(tmp_path, {"results/store/ab/run.json": "other", "results/new.txt": "new"})

    def lost(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("vqaflow.runtime.session.kept.write_json", lost)
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, tmp_path / "kept")
    assert bring_back(tmp_path / "kept", tmp_path / "two") == []
    assert (tmp_path / "two/results/store/ab/run.json").read_text() == "run"
    assert not (tmp_path / "two/results/new.txt").exists()


def test_a_job_that_ends_meanwhile_has_its_files_copied_again(tmp_path, monkeypatch):
    """Its new notes with its old output would have the next session take the old output for the new one."""
    from vqaflow.runtime.session import kept as module

    write(tmp_path, FILES)
    usual, calls = module._store, []

    def store(path, *rest):
        entry = usual(path, *rest)
        if path.name == "run.json" and not calls:
            calls.append(path)
            write(tmp_path, {path.relative_to(tmp_path).as_posix(): "newer", ".snakemake/metadata/new": "note"})
        return entry

    monkeypatch.setattr(module, "_store", store)
    kept = keep(tmp_path, tmp_path / "kept")
    assert ".snakemake/metadata/new" in kept.entries
    name = calls[0].relative_to(tmp_path).as_posix()
    assert object_of(tmp_path / "kept", kept.entries[name].digest).read_text() == "newer"


def test_a_damaged_file_is_left_out_and_named(tmp_path, capsys):
    """The run makes it again; taken as it is, it would be a result that nobody computed."""
    write(tmp_path / "one", FILES)
    kept = keep(tmp_path / "one", tmp_path / "kept")
    object_of(tmp_path / "kept", kept.entries[".snakemake/metadata/cmVzdWx0cw=="].digest).write_text("nOtes")
    object_of(tmp_path / "kept", kept.entries["results/store/ab/run.json"].digest).unlink()
    lost = bring_back(tmp_path / "kept", tmp_path / "two")
    assert sorted(lost) == sorted(name for name, text in FILES.items() if text in ("run", "notes"))
    assert not any((tmp_path / "two" / name).exists() for name in lost)


@pytest.mark.parametrize("path", ["../outside", "results/../../outside", "/etc/outside", "Snakefile"])
def test_a_list_that_names_other_files_is_refused(tmp_path, path):
    """Somebody else's output must not write outside of results."""
    entry = {"digest": "0" * 64, "size": 1, "changed": 1}
    write(tmp_path, {"kept/kept.json": json.dumps({"files": {path: entry}, "empty": []})})
    with pytest.raises(UserError, match="which no run writes"):
        bring_back(tmp_path / "kept", tmp_path / "two")


def test_a_damaged_list_is_one_message(tmp_path):
    write(tmp_path, {"kept/kept.json": '{"files": [1'})
    with pytest.raises(UserError, match="kept.json: is damaged"):
        bring_back(tmp_path / "kept", tmp_path / "two")


def test_results_that_are_here_win(tmp_path):
    """A kernel that was started anew on the same machine has newer ones."""
    write(tmp_path / "one", FILES)
    keep(tmp_path / "one", tmp_path / "kept")
    write(tmp_path / "two", {"results/store/ab/run.json": "newer"})
    Session(["true"], Limits(3600, 60, 60), tmp_path / "mine", tmp_path / "two").bring_back(tmp_path / "kept")
    assert (tmp_path / "two/results/store/ab/run.json").read_text() == "newer"


def test_bringing_back_goes_on_after_it_was_killed(tmp_path, monkeypatch):
    """Half of the files would be taken for results that are here."""
    write(tmp_path / "one", FILES)
    keep(tmp_path / "one", tmp_path / "kept")
    usual = bounded.bring_back
    monkeypatch.setattr("vqaflow.runtime.session.kept.os.utime", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    with pytest.raises(OSError):
        usual(tmp_path / "kept", tmp_path / "two")
    monkeypatch.undo()
    assert is_fresh(tmp_path / "two")
