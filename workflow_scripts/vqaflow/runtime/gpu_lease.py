"""GPUs of a job, held exclusively: no two jobs on a machine share a device, however many run at once.

The lease is a lock on one file per device (see `locks`). Take it before anything uses CUDA, which reads
CUDA_VISIBLE_DEVICES only once: in every command and rule, torch is imported after the lease.
"""

import ctypes
import getpass
import os
import re
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease
from vqaflow.runtime.stage import log

VISIBLE = "CUDA_VISIBLE_DEVICES"
# torch's settings of GPU memory. Without growing segments, gaps between tensors took 6 of the 79 GiB that a 27B fills.
ALLOCATOR = {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"}
NO_DEVICES = {"", "-1", "NoDevFiles"}
SECONDS_BETWEEN_TRIES = 1.0


@dataclass(frozen=True)
class Device:
    """A GPU: its name in CUDA_VISIBLE_DEVICES here, and the name by which every job on the machine knows it."""

    visible_as: str
    identity: str


CUDA_DRIVER, NOT_INITIALIZED = "libcuda.so.1", 3  # cuda.h: CUDA_ERROR_NOT_INITIALIZED

_held: dict[Device, Lease] = {}  # a lease that is no longer referenced is released


def lease_gpu(folder: Path | None = None, devices: list[Device] | None = None) -> Device | None:
    """Wait for a free device, hold it for the rest of this process, and show only it to CUDA; None without a GPU.

    `devices` are those to choose from, by default `visible_devices()`. The lock files are in `folder`, by default one
    folder per user in the system's temporary folder. A process that already holds a device keeps it.
    """
    return next(iter(lease_gpus(1, folder, devices)), None)


def lease_gpus(
    count: int, folder: Path | None = None, devices: list[Device] | None = None, key: str = "train.devices"
) -> list[Device]:
    """The same for `count` devices; none without a GPU. Raises UserError if there are GPUs, but fewer than `count`.

    `key` is the setting that asks for so many.

    Of the jobs that want several devices one at a time gathers them, and keeps what it has until it has all: none waits
    for another in a circle, and those that want one device cannot take each that becomes free.
    """
    if _held:
        return list(_held)
    devices = visible_devices() if devices is None else devices
    if not devices:
        return []
    if len(devices) < count:
        shown = ", ".join(device.visible_as for device in devices)
        raise UserError(f"{count} GPUs are asked for, but this job can see only {shown}. Lower {key}.")
    assert not cuda_has_started(), "CUDA was used before the lease: it would not see which GPU is reserved"
    folder = folder or Path(tempfile.gettempdir()) / f"vqaflow-gpus-{getpass.getuser()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    leases = {device: Lease(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device.identity)}.lock") for device in devices}
    if count == 1:
        _gather(leases, 1)
    else:
        with Lease(folder / "gathering.lock").held():
            _gather(leases, count)
    shown = ",".join(device.visible_as for device in _held)
    os.environ[VISIBLE] = shown
    if not ALLOCATOR & os.environ.keys():  # read when torch first uses the GPU
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    log.info("%s reserved for this job", f"GPU {shown} is" if count == 1 else f"GPUs {shown} are")
    threading.Thread(target=start_cuda).start()  # not a daemon: the driver must not be left while it works
    return list(_held)


def holds_gpu() -> bool:
    """Whether this process has leased a GPU."""
    return bool(_held)


def _gather(leases: dict[Device, Lease], count: int) -> None:
    """Wait until `count` of `leases` are held."""
    said = False
    while True:
        for device, lease in leases.items():
            if device not in _held and lease.take():
                _held[device] = lease
            if len(_held) == count:
                return
        if not said:
            log.info("waiting for %d of the GPUs %s", count, ", ".join(device.visible_as for device in leases))
            said = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def start_cuda() -> None:
    """Make the context of the first leased GPU, which torch will use, while Python imports: it takes a second or more.

    Nothing is lost if it fails: torch then does it, and says what is wrong.
    """
    try:
        driver = ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    with suppress(AttributeError):  # of a library that is no driver
        if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
            driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)


def cuda_has_started() -> bool:
    """Whether something in this process has started CUDA, which has then read CUDA_VISIBLE_DEVICES.

    It asks the driver itself, and only if it is loaded: counting devices starts it too, and torch does not say so.
    """
    try:
        driver = ctypes.CDLL(CUDA_DRIVER, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return False
    return driver.cuCtxGetCurrent(ctypes.byref(ctypes.c_void_p())) != NOT_INITIALIZED


def visible_devices() -> list[Device]:
    """The devices in CUDA_VISIBLE_DEVICES, as a scheduler or user set it; without it, all that the driver lists.

    Schedulers number the devices of each job from 0. What distinguishes them is the driver's UUID, or the scheduler's
    job id where the driver cannot be asked.
    """
    uuids = driver_uuids()
    assigned = os.environ.get(VISIBLE)
    if assigned is None:
        return [Device(uuid, uuid) for uuid in uuids.values()]
    unknown = f"{os.environ.get('SLURM_JOB_ID', '')}-"
    tokens = [token.strip() for token in assigned.split(",")]
    return [
        Device(token, token if not token.isdigit() else uuids.get(token, unknown + token))
        for token in tokens
        if token not in NO_DEVICES
    ]


def driver_uuids() -> dict[str, str]:
    """UUIDs of the GPUs by the driver's index; empty on a machine without a GPU."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return {}
    if listed.returncode != 0:
        return {}
    rows = (line.split(", ") for line in listed.stdout.splitlines())
    return {index.strip(): uuid.strip() for index, uuid in rows}
