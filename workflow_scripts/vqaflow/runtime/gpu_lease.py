"""One GPU a job, held exclusively: no two jobs of a machine share a device, however many run at once.

The lease is a lock on a file a device. The kernel releases it when the process ends, in whatever way. It must be taken
before torch is imported, since CUDA reads CUDA_VISIBLE_DEVICES once.
"""

import fcntl
import getpass
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vqaflow.runtime.stage import log

NOT_IN_DIGESTS = True  # which device a job gets decides no result
VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_DEVICES = {"", "-1", "NoDevFiles"}
SECONDS_BETWEEN_TRIES = 1.0


@dataclass(frozen=True)
class Device:
    """A GPU: what CUDA_VISIBLE_DEVICES calls it here, and a name that every job of the machine knows it by."""

    visible_as: str
    identity: str


_held: dict[Device, IO[str]] = {}  # the locks live as long as these open files


def lease_gpu(folder: Path | None = None, devices: list[Device] | None = None) -> Device | None:
    """Wait for a free device, hold it for the rest of this process, and show it alone to CUDA; None without a GPU.

    `devices` are those to choose from, by default `visible_devices()`; lock files lie in `folder`, by default one a
    user in the system's temporary folder. A process that holds a device already keeps it.
    """
    if _held:
        return next(iter(_held))
    devices = visible_devices() if devices is None else devices
    if not devices:
        return None
    folder = folder or Path(tempfile.gettempdir()) / f"vqaflow-gpus-{getpass.getuser()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = False
    while not any(_take(device, folder) for device in devices):
        if not said:
            log.info("waiting for one of the GPUs %s", ", ".join(device.visible_as for device in devices))
            said = True
        time.sleep(SECONDS_BETWEEN_TRIES)
    (device,) = _held
    os.environ[VISIBLE] = device.visible_as
    log.info("GPU %s is this job's alone", device.visible_as)
    return device


def _take(device: Device, folder: Path) -> bool:
    file = (folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device.identity)}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held[device] = file
    return True


def visible_devices() -> list[Device]:
    """What a scheduler or user put into CUDA_VISIBLE_DEVICES (nothing, if it is empty), else all that the driver has.

    Schedulers number a job's devices anew, so that every job may have a "0": the driver's UUID tells them apart, and
    the scheduler's job where the driver cannot be asked.
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
    """UUIDs of the GPUs by the driver's index; empty on a machine without."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return {}
    if listed.returncode != 0:
        return {}
    rows = (line.split(", ") for line in listed.stdout.splitlines())
    return {index.strip(): uuid.strip() for index, uuid in rows}
