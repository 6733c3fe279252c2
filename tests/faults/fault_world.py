"""The smallest whole run to break things in, what it must end with, and how an end is judged."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from vqaflow.config.loading import load_config
from vqaflow.runtime.digests import file_digest
from workflow_world import copy_workflow

# Every stage of the workflow is real; all is as small as it goes, since it runs again and again.
FAULTY = {
    "data": {"demo": {"train_rows": 32, "test_rows": 12}},
    "folds": {"n": 2},
    "train": {"epochs": 2, "batch_size": 4, "choice_orders": 1, "checkpoint_minutes": 0, "trackers": []},
    "views": {"hflip": {"enabled": False}},
}
# What is no artifact, or says how long something took.
NOT_COMPARED = ("logs", "benchmarks", "work", "store", "tracking", "digests")
TIMED = re.compile(r"adapters/.*/run\.json|scores/.*\.json|members/.*/member\.json|evaluation/costs\.json|demo/.*\.png")
ERROR = re.compile(r"(?:^|\s)error: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How one fault ended: `fault` in words, whether that is allowed, and what was seen."""

    fault: str
    is_right: bool
    seen: str

    def __str__(self) -> str:
        return f"{'ok    ' if self.is_right else 'FAILED'}  {self.fault}: {self.seen}"


def make_world(folder: Path) -> Path:
    """The workflow with the smallest configuration as its config.yaml, without results."""
    copy_workflow(folder)
    (folder / "small.yaml").write_text(yaml.safe_dump(FAULTY), encoding="utf-8")
    merged = load_config(folder / "config.yaml", folder / "small.yaml")
    (folder / "config.yaml").write_text(yaml.safe_dump(merged, allow_unicode=True), encoding="utf-8")
    return folder


def finished_world(folder: Path) -> Path:
    """A run that nothing disturbed, to be copied and not changed; made once."""
    if not (folder / "printed").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        make_world(folder)
        run = begin(folder)
        assert run.wait() == 0, printed_by(folder)
        shutil.copyfile(folder / "output", folder / "printed")
    return folder


def begin(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start Snakemake in a session of its own, as a terminal or a scheduler does; it prints to the file `output`."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / "output").open("a") as out:
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
        return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)


def printed_by(folder: Path) -> str:
    """What the runs since the last `forget_output` have printed."""
    path = folder / "output"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def forget_output(folder: Path) -> None:
    """Begin a new file of what runs print."""
    (folder / "output").unlink(missing_ok=True)


def unlock(folder: Path) -> None:
    """Remove the locks of a killed run, as `snakemake --unlock` does."""
    shutil.rmtree(folder / ".snakemake" / "locks", ignore_errors=True)


def session(leader: int) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(state[3]) == leader and state[0] not in "ZX":
                found.append(int(entry))
    return found


def kill_session(leader: int) -> None:
    """SIGKILL to every process of a session."""
    for pid in session(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for_session(leader: int, seconds: float) -> None:
    """Wait until no process of a session is left, which may be orphans of its leader."""
    end = time.monotonic() + seconds
    while session(leader):
        assert time.monotonic() < end, f"processes {session(leader)} do not end"
        time.sleep(0.05)


def compared(results: Path) -> dict[str, str]:
    """The digests of all artifacts whose bytes depend on nothing but the inputs."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results)
        is_other = name.parts[0] in NOT_COMPARED or any(part.startswith(".") for part in name.parts)
        if path.is_file() and not is_other and not TIMED.fullmatch(name.as_posix()):
            found[name.as_posix()] = file_digest(path)
    return found


def differences(results: Path, expected: dict[str, str]) -> list[str]:
    """The names of artifacts that differ from the expected ones, or are missing, or too many."""
    found = compared(results)
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def is_one_message(printed: str, *names: str) -> str:
    """ "" if what was printed has no traceback and one message of ours, with `names`; else what is wrong with it."""
    if "Traceback" in printed:
        return "a traceback: " + printed.strip().splitlines()[-1][:300]
    told = {message.strip() for message in ERROR.findall(printed)}
    if len(told) != 1:
        return f"{len(told)} messages: {sorted(told)}, in {printed[-500:]!r}"
    (message,) = told
    if lacking := [name for name in names if name not in message]:
        return f"the message lacks {', '.join(lacking)}: {message}"
    ends = (".", "?", ":") if f"{message}\n  - " in printed else (".", "?")  # a list of problems may follow
    return "" if message.endswith(ends) and ". " in message else f"a message without a cure: {message}"
