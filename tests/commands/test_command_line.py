"""`vqaflow COMMAND`: each command is found, explained without loading a model library, and ends with a message."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from places import ROOT, SCRIPTS
from vqaflow.commands.command_line import commands

COMMANDS = sorted(commands())
SLOW_LIBRARIES = ["torch", "transformers", "pandas", "numpy", "scipy", "matplotlib"]
RULES = {  # by name: its text
    text.split(":")[0]: text
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for text in re.split(r"^rule ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
}

# The rest of a command line, after what it prints; commands that are not named here need nothing more.
NEEDED = {
    "init": ["nowhere"],
    "merge_adapter": ["--fold", "0"],
    "score_choices": ["--split", "test", "--fold", "0"],
    "session": ["--hours", "1", "--keep", "kept", "--from", "nowhere", "--", "true"],
    "train_adapter": ["--fold", "0"],
}
# Files that are not there, for each command; those that are not named here look for results/ and the demo's tables.
MISSING = NEEDED | {
    "compare": ["run_a", "run_b"],
    "crate": ["write", "crate"],
    "doctor": ["--config", "nowhere.yaml"],
    "export": ["probabilities", "--out", "out"],
    "plan": ["--table", "nowhere.parquet"],
    "prepare_demo": ["--config", "nowhere.yaml"],  # it reads nothing else
    "question_model": ["check", "nowhere.csv"],
    "question_types": ["nowhere.csv", "--out", "out.csv"],
    "runs": ["nowhere", "current"],
    "sign": ["check", "nowhere", "--key", "nowhere.pub"],
    "simulate": ["epochs"],
    "software": ["audit", "--lock", "nowhere.lock"],
    "store": ["list"],
    "store_base": ["--config", "nowhere.yaml"],
    "tiny_base": ["--config", "nowhere.yaml", "--out", "base"],
    "validate_submission": ["nowhere.csv", "--sample", "sample.csv", "--test", "test.csv"],
    "verify": ["nowhere"],
}
READS_NO_FILE = {"bench"}

# Runs command lines one after the other, each in its folder. Prints, for each, the exit status, its output, and those
# of the slow libraries that are loaded by then.
RUN_ALL = """
import contextlib, io, json, os, sys
from vqaflow.commands.command_line import main
ends = []
for folder, line in json.loads(sys.stdin.read()):
    os.makedirs(folder)
    os.chdir(folder)
    printed, status = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main(line)
        except SystemExit as end:
            status = end.code
    ends.append([status, printed.getvalue(), [name for name in json.loads(sys.argv[1]) if name in sys.modules]])
print(json.dumps(ends))
"""
# A module in torch's place: it reports which GPUs CUDA would show to the process that imports it, and ends the process.
TORCH = """
import os
print("torch sees", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
os._exit(0)
"""
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}


def vqaflow(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    """`python -m vqaflow` in `folder`."""
    command = [sys.executable, "-m", "vqaflow", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT)


def run_all(folder: Path, lines: dict[str, list[str]]) -> dict[str, tuple[int, str, list[str]]]:
    """Exit status, output and loaded libraries of each command with its arguments, run in an empty folder."""
    work = json.dumps([[str(folder / name), [name, *rest]] for name, rest in lines.items()])
    command = [sys.executable, "-c", RUN_ALL, json.dumps(SLOW_LIBRARIES)]
    done = subprocess.run(command, input=work, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, json.loads(done.stdout), strict=True))


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """What `--help` of each command did."""
    return run_all(tmp_path_factory.mktemp("help"), {name: ["--help"] for name in COMMANDS})


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """How each command ended whose files are missing."""
    lines = {name: MISSING.get(name, []) for name in COMMANDS if name not in READS_NO_FILE}
    return run_all(tmp_path_factory.mktemp("missing"), lines)


def test_help_lists_every_command_with_a_short_sentence(tmp_path):
    done = vqaflow("--help", folder=tmp_path)
    assert done.returncode == 0
    listed = dict(re.findall(r"^  (\w+) +(.*)$", done.stdout, re.MULTILINE))
    assert sorted(listed) == COMMANDS, "users learn of a command from this list"
    for name, sentence in listed.items():
        assert re.fullmatch(r"[A-Z][^.]*(?:\.\w[^.]*)*\.", sentence), (
            f"{name} is not described by one sentence: {sentence}"
        )
        assert len(sentence) <= 100, f"the line of {name} is broken on a usual terminal: {sentence}"


def test_without_a_command_the_list_is_shown(tmp_path):
    done = vqaflow(folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == vqaflow("--help", folder=tmp_path).stdout


@pytest.mark.parametrize("spelling", ["make_folds", "make-folds"])
def test_dashes_and_underscores_are_the_same(spelling, tmp_path):
    done = vqaflow(spelling, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: vqaflow make_folds ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("train_adaptor", "Did you mean train_adapter?"), ("make-fold", "Did you mean make_folds?"), ("xyz", "")],
)
def test_an_unknown_command_names_the_nearest(name, hint, tmp_path):
    done = vqaflow(name, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert name in done.stderr and hint in done.stderr and "vqaflow --help" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and ("Did you mean" in done.stderr) == bool(hint)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_at_once(explained, name):
    """A model library takes seconds to load, and a user who asks for help may not have it."""
    status, printed, loaded = explained[name]
    assert status == 0 and printed.startswith(f"usage: vqaflow {name} "), printed
    assert loaded == [], f"vqaflow {name} --help is slow: it, or a command before it in {COMMANDS}, loads {loaded}"


def test_each_rule_has_a_command_of_its_name():
    assert len(RULES) > 10
    assert not RULES.keys() - set(COMMANDS), "these rules cannot be run by hand"
    by_hand = {name for name, file in commands().items() if file.parent.name == "rules"}
    assert not by_hand - RULES.keys(), "vqaflow --help calls these commands stages of the workflow, which have no rule"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in READS_NO_FILE])
def test_a_missing_file_is_one_message(ended, name):
    """It says what is missing; a traceback would say it to programmers only."""
    status, printed, _ = ended[name]
    assert status == 1, f"a script that calls vqaflow {name} would go on without its result: {printed}"
    assert "Traceback" not in printed
    assert printed.count(" error: ") == 1 and " error: " in printed.splitlines()[0], printed


@pytest.mark.parametrize(
    "name", [name for name, text in RULES.items() if re.search(r"^        gpu=", text, re.MULTILINE)]
)
def test_a_gpu_is_leased_before_torch_is_imported(name, tmp_path):
    """CUDA reads the variable once: a later lease would leave two jobs on the first GPU."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho '0, GPU-a'\necho '1, GPU-b'\n")
    driver.chmod(0o755)
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "torch.py").write_text(TORCH)
    changes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    environment = ENVIRONMENT | changes | {"PYTHONPATH": f"{tmp_path / 'libraries'}:{SCRIPTS}"}
    del environment["CUDA_VISIBLE_DEVICES"]
    command = [sys.executable, "-m", "vqaflow", name, *NEEDED.get(name, [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert "GPU GPU-a is reserved" in done.stderr, "the job would use a GPU that another one may hold"
    assert set(done.stdout.splitlines()) <= {"torch sees GPU-a"}  # nothing, if a missing file ends the job before
    assert [path.name for path in tmp_path.glob("vqaflow-gpus-*/*")] == ["GPU-a.lock"]
