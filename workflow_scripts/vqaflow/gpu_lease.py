"""One GPU a job, held exclusively: no two jobs of a machine share a device, however many run at once.

The lease is a lock on a file a device. The kernel releases it when the process ends, in whatever way. It must be taken
before torch is imported, since CUDA reads CUDA_VISIBLE_DEVICES once.
"""

import fcntl
import getpass
import os
import subprocess
import tempfile
import time
from pathlib import Path

from vqaflow.progress import log

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 1.0
_held: list[object] = []  # open files; their locks live as long as the process


def lease_gpu(folder: Path | None = None, devices: list[str] | None = None) -> str | None:
    """Wait for a free device, hold it for the rest of this process, and show it alone to CUDA; None without a GPU.

    `devices` are those to choose from (by default what a scheduler or user put into CUDA_VISIBLE_DEVICES, else all of
    the machine); lock files lie in `folder`, by default one a user in the system's temporary folder.
    """
    if "SLURM_JOB_ID" in os.environ and VISIBLE in os.environ:
        return os.environ[VISIBLE]  # the scheduler's own exclusive assignment, numbered anew in each job
    devices = visible_devices() if devices is None else devices
    if not devices:
        return None
    folder = folder or Path(tempfile.gettempdir()) / f"vqaflow-gpus-{getpass.getuser()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = False
    while True:
        for device in devices:
            if _try_lock(folder / f"{device.replace('/', '_')}.lock"):
                os.environ[VISIBLE] = device
                log.info("GPU %s is this job's alone", device)
                return device
        if not said:
            log.info("waiting for one of the GPUs %s", ", ".join(devices))
            said = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _try_lock(path: Path) -> bool:
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _held.append(file)
    return True


def visible_devices() -> list[str]:
    """The devices that this process may use: CUDA_VISIBLE_DEVICES if set (also to nothing), else the driver's list."""
    assigned = os.environ.get(VISIBLE)
    if assigned is not None:
        return [device.strip() for device in assigned.split(",") if device.strip() not in ("", "-1", "NoDevFiles")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return listed.stdout.split() if listed.returncode == 0 else []
