"""train.devices: several processes train what one trains, up to rounding, and end together."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import training_world
from places import SCRIPTS, takes_minutes
from training_world import job, make_world, run
from vqaflow.runtime.errors import UserError
from vqaflow.training import ranks
from vqaflow.training.loop import Trainer

WEIGHTS = "adapter_model.safetensors"
# 20 rows in steps of 8: the last step has 4 rows, which 3 processes share unequally.
SHORT = {"epochs": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def alone(world: Path) -> Path:
    """The adapter that one process trains."""
    return run(job(world, "alone", **SHORT))


def distance(first: Path, second: Path) -> float:
    """The largest difference of two adapters' weights."""
    one, other = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("devices", [2, pytest.param(3, marks=takes_minutes)])
def test_several_processes_train_what_one_trains(world: Path, alone: Path, devices: int) -> None:
    """Else the number of GPUs would decide how well an adapter is trained."""
    shared = run(job(world, f"shared{devices}", devices=devices, **SHORT))
    one, other = (pd.read_csv(folder / "log.csv") for folder in (alone, shared))
    assert (one["loss"] - other["loss"]).abs().max() < 1e-5
    assert one["val_accuracy"].equals(other["val_accuracy"])
    assert distance(alone, shared) < 1e-5
    told = json.loads((shared / "run.json").read_text(encoding="utf-8"))
    assert told["train"]["devices"] == devices


@pytest.mark.parametrize(("before", "after"), [pytest.param(2, 1, marks=takes_minutes), (1, 2)])
def test_a_checkpoint_goes_on_with_another_number_of_devices(
    world: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    """On a cluster the next session may have more cards, or fewer: the hours so far must not be lost."""
    name = f"resumed{before}{after}"
    step = Trainer.step

    def limited(self: Trainer, *given: object) -> None:
        if self.progress.step == 3:
            raise UserError("enough")
        step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", limited)
        with pytest.raises(UserError, match="enough"):
            run(job(world, name, devices=before, **SHORT))
    done = []
    monkeypatch.setattr(Trainer, "step", lambda self, *given: done.append(1) or step(self, *given))
    assert distance(alone, run(job(world, name, devices=after, **SHORT))) < 1e-5
    assert len(done) == 3, "the steps before were done again"


RUNS = """
import sys
from pathlib import Path
from training_world import job, training_arguments
from vqaflow.runtime.stage import stage
from vqaflow.training.train_adapter import train_adapter
with stage(Path(sys.argv[1]) / "job.log"):
    train_adapter(**training_arguments(**job(Path(sys.argv[1]), sys.argv[2], devices=2, epochs=2000)))
"""


def started(world: Path, name: str) -> tuple[subprocess.Popen, int]:
    """A job of two processes, once it has saved a checkpoint, and the process id of its second one."""
    paths = os.pathsep.join(map(str, [SCRIPTS, Path(training_world.__file__).parent, *sys.path]))
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(world), name],
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoint = world / name / "work" / "train" / "fold0" / "checkpoint.pt"
    until = time.monotonic() + 300
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < until, process.stderr.read()
        time.sleep(0.05)
    (other,) = [int(child.name) for child in Path("/proc").glob("[0-9]*") if is_rank_of(child, process.pid)]
    return process, other


def is_rank_of(child: Path, parent: int) -> bool:
    """Whether a process in /proc is a rank that `parent` has started."""
    try:
        its_parent = int((child / "stat").read_text().rpartition(")")[2].split()[1])
        return its_parent == parent and b"other_rank" in (child / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def is_there(pid: int) -> bool:
    """Whether a process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_process_ends_the_job_with_one_message(world: Path) -> None:
    """Else the others would wait for it until the cluster's time limit, with the cards reserved."""
    process, other = started(world, "killed")
    os.kill(other, 9)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if "error:" in line]
    assert "train.devices: process 2 of 2 was killed by signal 9" in line and "resumes from the last checkpoint" in line


def test_the_other_processes_end_with_the_first(world: Path) -> None:
    """A job that Snakemake kills must leave nothing behind on the cards."""
    process, other = started(world, "first")
    process.kill()
    process.communicate()
    until = time.monotonic() + 30
    while is_there(other):
        assert time.monotonic() < until, "the second process runs on without the first"
        time.sleep(0.1)


def test_a_stop_ends_all_after_a_checkpoint(world: Path) -> None:
    """SIGTERM before a session's end: the job must save and leave within seconds, with all its processes."""
    process, other = started(world, "stopped")
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143 and "run the same command again to resume" in told
    assert not is_there(other)


def test_the_message_of_another_process_is_the_jobs(tmp_path: Path) -> None:
    """The user must read which row is too large, not that a process ended."""
    seat = ranks.Seat(1, 2, 0, tmp_path)
    seat.failure.write_text(json.dumps({"kind": "NotFinite", "message": "row 'a': infinite"}), encoding="utf-8")
    failure = ranks.failure_of(seat, 1)
    assert (type(failure).__name__, str(failure)) == ("NotFinite", "row 'a': infinite")


def test_fewer_cards_than_devices_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one card would run out of memory, or NCCL would fail with a message that nobody understands."""
    monkeypatch.setenv(ranks.VISIBLE, "GPU-a")
    with pytest.raises(UserError, match=r"train\.devices: 2 GPUs are asked for, but this job has 1\."):
        ranks.require_devices(2)


def test_shares_cover_each_row_once() -> None:
    """A row in no share would never be trained."""
    rows = list(range(7))
    shares = [ranks.Ranks(number, 3).share(rows) for number in range(3)]
    assert sorted(row for share in shares for row in share) == rows
    assert {len(share) for share in shares} == {2, 3}


def test_a_process_alone_sums_nothing() -> None:
    """One device must train to the bit as without train.devices."""
    weight = torch.nn.Parameter(torch.ones(2))
    ranks.Ranks().sum_gradients([weight])
    assert weight.grad is None and ranks.Ranks().sums(1.5, 2) == [1.5, 2]
