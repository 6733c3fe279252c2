"""No traceback reaches a user without --debug: whatever happens, a command ends with one message that helps."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT, SCRIPTS
from vqaflow.commands import command_line
from vqaflow.runtime.messages import plain
from vqaflow.runtime.stage import log, stage

ENVIRONMENT = os.environ | {"PYTHONPATH": str(SCRIPTS)}
SAMPLE = "id,answer\n1,a\n2,b\n"
# A command whose file is given, with what each kind of wrong file is there for: each command line, and its file.
KINDS = {
    "empty": b"",
    "binary": bytes(range(256)) * 20,
    "cut parquet": b"PAR1" + b"\x15\x04" * 40,
    "html": b"<!doctype html><html></html>",
    "json list": b"[1, 2",
    "deep json": b"[" * 100_000,
    "wrong csv": b'id,x\n1,"2\n',
    "folder": None,
    "nothing": False,
}
LINES = {
    "validate_submission": "validate_submission {file} --sample {sample} --test {sample}",
    "validate_submission, sample": "validate_submission {sample} --sample {file} --test {sample}",
    "validate_submission, test": "validate_submission {sample} --sample {sample} --test {file}",
    "validate_submission, labels": "validate_submission {sample} --sample {sample} --test {sample} --labels {file}",
    "validate_submission, metrics": "validate_submission {sample} --sample {sample} --test {sample} --metrics {file}",
    "question_types": "question_types {file} --out out.csv",
    "make_folds, config": "make_folds --config {file}",
    "verify": "verify {file}",
    "compare": "compare {file} {sample}",
    "runs": "runs {file} {sample}",
    "picks": "picks --results {file}",
    "init": "init {file}",
}


def ended(line: list[str], capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """The exit status of a command line, and what it printed."""
    try:
        command_line.main(line)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    else:
        status = 0
    out, err = capsys.readouterr()
    return status, out + err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LINES)
def test_a_wrong_file_is_a_message(name, kind, tmp_path, monkeypatch, capsys):
    """The file is named, and nothing of the library that failed is shown."""
    monkeypatch.chdir(tmp_path)
    Path("sample.csv").write_text(SAMPLE, encoding="utf-8")
    path, content = Path("wrong_file"), KINDS[kind]
    if content is None:
        path.mkdir()
    elif content is not False:
        path.write_bytes(content)
    status, printed = ended(LINES[name].format(file=path, sample="sample.csv").split(), capsys)
    assert "Traceback" not in printed and "unexpected error" not in printed, printed
    assert status in (0, 1, 2), printed
    if name != "init" or kind != "nothing":
        assert "wrong_file" in printed or "sample.csv" in printed or "results" in printed, printed


def raising(error: BaseException):
    def run(arguments):
        raise error

    return run


ERRORS = [
    ZeroDivisionError("division by zero"),
    KeyError("x"),
    RecursionError(),
    RuntimeError("a\nb"),
    AssertionError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_an_unexpected_error_is_one_message(error, monkeypatch, capsys):
    """It says what happened and where, how to see more, and whom to tell."""
    from vqaflow.commands.tools import store

    monkeypatch.setattr(store, "run", raising(error))
    status, printed = ended(["store", "list"], capsys)
    assert status == 1 and printed.count("\n") == 1 and "Traceback" not in printed
    assert "error: " in printed and f"an unexpected error, {type(error).__name__}" in printed
    assert printed.rstrip().endswith("with --debug, and report what it prints to the maintainers of vqaflow.")
    for line in (["store", "list", "--debug"], ["--debug", "store", "list"]):
        status, printed = ended(line, capsys)
        assert status == 1 and printed.count("Traceback") == 1 and "Its traceback is above" in printed


def test_a_command_that_cannot_be_imported_is_one_message(monkeypatch, capsys):
    """A package that is missing shows here first."""
    monkeypatch.setitem(sys.modules, "vqaflow.commands.tools.store", None)
    status, printed = ended(["store", "list"], capsys)
    assert status == 1 and printed.count("\n") == 1
    assert "an unexpected error, ModuleNotFoundError" in printed or "an unexpected error, ImportError" in printed


def test_a_stage_keeps_the_traceback_in_its_log(tmp_path, capsys):
    with pytest.raises(SystemExit), stage(tmp_path / "a.log"):
        json.loads("{")
    printed, logged = capsys.readouterr().err, (tmp_path / "a.log").read_text(encoding="utf-8")
    assert printed.count("\n") == 1 and "Traceback" not in printed and "Traceback" in logged
    assert f"Its traceback is in {tmp_path / 'a.log'}" in printed and printed.strip() in logged


def vqaflow(line: str, folder: Path, **changes: str) -> subprocess.CompletedProcess:
    """A command line in a shell."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('vqaflow', shlex.quote(sys.executable) + ' -m vqaflow', 1)}"],
        cwd=folder,
        env=ENVIRONMENT | changes,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("line", ["vqaflow --help | true", "vqaflow store --help | true"])
def test_a_reader_that_has_ended_is_no_error(line, tmp_path):
    """`vqaflow … | head` must not end with a page about a broken pipe."""
    assert vqaflow(line, tmp_path).stderr == ""


def test_a_command_whose_output_nobody_reads_any_more_ends_quietly(tmp_path):
    script = "import sys\nfrom vqaflow.runtime.stage import stage\nwith stage(None):\n"
    script += "    for i in range(100000):\n        print(i)\n    sys.stdout.flush()\n"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (141, "0\n", "")


def test_a_terminal_without_unicode_gets_numbers(tmp_path):
    """The signs … and × stopped even --help in a C locale."""
    done = vqaflow("vqaflow --help", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "\\u2026" in done.stdout and done.stderr == ""


@pytest.mark.parametrize("sign", ["\x1b[2J", "\x1b]0;owned\x07", "\r", "\x9b31m", "\u202e", "\x08", "\x7f", "\u2066"])
def test_a_name_in_a_table_controls_no_terminal(sign, tmp_path, capsys):
    """An image path with escape codes would clear, colour or rename the terminal of those who read the message."""
    with stage(tmp_path / "a.log"):
        log.warning("%s: there is no such file. Put it there.", f"a{sign}b.png")
    for told in (capsys.readouterr().err, (tmp_path / "a.log").read_text(encoding="utf-8")):
        assert sign not in told.removesuffix("\r\n") and "b.png: there is no such file" in told
    assert plain("줄\n\t끝") == "줄\n\t끝"


def test_a_configuration_with_a_key_twice_stops_the_workflow(tmp_path):
    """Snakemake keeps the last one: half of the user's settings would be lost without a word."""
    from vqaflow.config.invocation import require_kept
    from vqaflow.runtime.errors import UserError

    (tmp_path / "my.yaml").write_text("train: {epochs: 3}\ntrain: {batch_size: 4}\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: the section has the key train twice"):
        require_kept(["--configfile", str(tmp_path / "my.yaml")], {}, Path("results"))


def test_an_unexpected_error_while_the_workflow_is_parsed_is_one_message():
    """Snakemake would print its own pages on it."""
    text = (ROOT / "rules" / "common.smk").read_text(encoding="utf-8")
    assert 'raise SystemExit(hidden(f"error: {unexpected(error, None)}")) from None' in text
