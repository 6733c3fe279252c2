"""Two folds must never share a GPU, whichever process dies when, and a job must keep to what a scheduler assigned."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from places import PACKAGE, SCRIPTS
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.gpu_lease import Device, lease_gpus, visible_devices

# Takes a lease, proves by an exclusive marker file that nobody else has that device, works a little, and ends.
WORKER = """
import os, sys, time
from pathlib import Path
from vqaflow.runtime.gpu_lease import Device, lease_gpu
import vqaflow.runtime.gpu_lease as module
module.SECONDS_BETWEEN_TRIES = 0.01
folder, work = Path(sys.argv[1]), float(sys.argv[2])
device = lease_gpu(folder / "locks", [Device(d, d) for d in sys.argv[3].split(",")])
assert os.environ["CUDA_VISIBLE_DEVICES"] == device.visible_as
assert "torch" not in sys.modules
marker = folder / f"busy-{device.identity}"
marker.touch(exist_ok=False)
print(device.identity, flush=True)
time.sleep(work)
marker.unlink()
if sys.argv[4:]:
    os.kill(os.getpid(), int(sys.argv[4]))  # dies as it is, with the device in its hands
"""
# The same with several devices, of which none may be anybody else's.
GATHERER = """
import sys, time
from pathlib import Path
from vqaflow.runtime.gpu_lease import Device, lease_gpus
import vqaflow.runtime.gpu_lease as module
module.SECONDS_BETWEEN_TRIES = 0.01
folder, count = Path(sys.argv[1]), int(sys.argv[2])
held = lease_gpus(count, folder / "locks", [Device(d, d) for d in sys.argv[3].split(",")])
assert len(set(held)) == count
for device in held:
    (folder / f"busy-{device.identity}").touch(exist_ok=False)
time.sleep(0.1)
for device in held:
    (folder / f"busy-{device.identity}").unlink()
"""
# Leases one of the devices that it sees, twice: a process keeps its device to its end, so each test has its own one.
LEASES = """
import json, os, sys
from pathlib import Path
from vqaflow.runtime.gpu_lease import lease_gpu
first, second = (lease_gpu(Path(sys.argv[1])) for _ in range(2))
print(json.dumps([first and first.identity, second and second.identity, os.environ.get("CUDA_VISIBLE_DEVICES")]))
"""


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def worker(folder: Path, work: float, devices: str, *death: str) -> subprocess.Popen:
    command = [sys.executable, "-c", WORKER, str(folder), str(work), devices, *death]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leased(folder: Path) -> tuple[str | None, str | None]:
    """The device that a process leases, and what it shows to CUDA then; a second lease must give the same."""
    command = [sys.executable, "-c", LEASES, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    first, second, visible = json.loads(done.stdout)
    assert first == second
    return first, visible


def fake_driver(folder: Path, uuids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that lists `uuids`."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{i}, {uuid}'\n" for i, uuid in enumerate(uuids)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_many_jobs_never_share_a_device(tmp_path):
    """Twelve jobs on two GPUs: a second job on a device would find the marker of the first, and both are used."""
    jobs = [worker(tmp_path, 0.1, "GPU-a,GPU-b") for _ in range(12)]
    ends = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 12, ends
    assert {out.strip() for out, _ in ends} == {"GPU-a", "GPU-b"}


def test_many_jobs_that_die_never_share_a_device(tmp_path):
    """Every second of sixteen jobs is killed while it holds a device: no two share one, and all get their turn."""
    deaths = [(), (str(int(signal.SIGKILL)),), (), (str(int(signal.SIGTERM)),)] * 4
    jobs = [worker(tmp_path, 0.05, "GPU-a,GPU-b,GPU-c", *death) for death in deaths]
    ends = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [-int(death[0]) if death else 0 for death in deaths], ends
    assert {out.strip() for out, _ in ends} <= {"GPU-a", "GPU-b", "GPU-c"}


def test_jobs_with_several_devices_never_share_one_and_all_get_their_turn(tmp_path):
    """Two that each hold one of two GPUs would wait for each other for ever."""
    counts = [2, 1, 2, 3, 1, 2, 1, 3]
    command = [sys.executable, "-c", GATHERER, str(tmp_path)]
    jobs = [subprocess.Popen([*command, str(count), "GPU-a,GPU-b,GPU-c"], stderr=subprocess.PIPE) for count in counts]
    ends = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(counts), ends


def test_more_devices_than_there_are_is_told(tmp_path):
    """A job that waits for a second GPU where there is one would wait for ever."""
    with pytest.raises(UserError, match=r"2 GPUs are asked for, but this job can see only 0\. Lower train\.devices\."):
        lease_gpus(2, tmp_path, [Device("0", "GPU-a")])


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_frees_its_device(tmp_path, death):
    """After an out-of-memory kill the next fold must get the device, not wait for ever."""
    first = worker(tmp_path, 600, "GPU-a")
    assert first.stdout.readline().strip() == "GPU-a"
    second = worker(tmp_path, 0, "GPU-a")
    time.sleep(0.3)
    assert second.poll() is None, "the second job did not wait"
    (tmp_path / "busy-GPU-a").unlink()  # first: the second job starts the moment that the first one dies
    first.send_signal(death)
    first.communicate()
    out, error = second.communicate(timeout=30)
    assert (second.returncode, out.strip()) == (0, "GPU-a"), error


def test_no_gpu_needs_no_lease(monkeypatch, tmp_path):
    """On a laptop nothing is locked and nothing is hidden from CUDA."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert leased(tmp_path / "locks") == (None, None)
    assert not (tmp_path / "locks").exists()


def test_all_of_the_drivers_devices_are_offered(monkeypatch, tmp_path):
    fake_driver(tmp_path, ["GPU-a", "GPU-b"], monkeypatch)
    assert visible_devices() == [Device("GPU-a", "GPU-a"), Device("GPU-b", "GPU-b")]


@pytest.mark.parametrize("nothing", ["", "-1", "NoDevFiles"])
def test_hidden_devices_stay_hidden(monkeypatch, tmp_path, nothing):
    """If the user hides all GPUs, the run is on the CPU."""
    fake_driver(tmp_path, ["GPU-a"], monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    assert leased(tmp_path / "locks") == (None, nothing)


def test_only_assigned_devices_are_taken(monkeypatch, tmp_path):
    """A job that was given GPU 1 must not wander to GPU 0, which may be in use by someone else."""
    fake_driver(tmp_path, ["GPU-a", "GPU-b"], monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert leased(tmp_path / "locks") == ("GPU-b", "1")


def test_slurm_jobs_that_each_call_their_device_0_do_not_wait_for_each_other(monkeypatch, tmp_path):
    """SLURM's cgroups number each job's devices from 0: equal numbers are different devices there."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    fake_driver(tmp_path, ["GPU-b"], monkeypatch)  # what the driver shows within that job
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert visible_devices() == [Device("0", "GPU-b")]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert visible_devices() == [Device("0", "17-0")]


def test_a_process_keeps_its_device(monkeypatch, tmp_path):
    """A second lease of the same process would wait for its own first one for ever."""
    fake_driver(tmp_path, ["GPU-a"], monkeypatch)
    assert leased(tmp_path / "locks") == ("GPU-a", "GPU-a")


def test_nobody_counts_gpus():
    """The package asks for one device and never how many there are; the doctor does, in a process that only looks."""
    counting = [path.name for path in PACKAGE.rglob("*.py") if "device_count" in path.read_text(encoding="utf-8")]
    assert counting == ["probe.py"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "expandable_segments:True"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, "max_split_size_mb:64"),
        ({"PYTORCH_ALLOC_CONF": "max_split_size_mb:64"}, None),
    ],
)
def test_gpu_memory_grows_in_segments_unless_the_user_says_otherwise(tmp_path, monkeypatch, given, expected) -> None:
    """A 27B that the plan says fits would run out of memory, lost in gaps between tensors."""
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    code = (
        "import json, os, sys; from pathlib import Path; from vqaflow.runtime.gpu_lease import Device, lease_gpu; "
        "lease_gpu(Path(sys.argv[1]), [Device('0', 'GPU-a')]); "
        "print(json.dumps(os.environ.get('PYTORCH_CUDA_ALLOC_CONF')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected
