"""A service's folders for the notebooks' cells: inputs as the kit writes them, an output, and lost machines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import yaml
from notebooks.cells import HERE
from notebooks.kit import Kit, pack_workflow, write_wheel_list

# The profile's settings are for a large base; these make the demo's own run of it, as small as it goes.
DEMO = {
    "data": {"demo": {"train_rows": 32, "test_rows": 12}},
    "model": {
        "base": "assets/tiny-qwen2_5-vl",
        "quantization": "none",
        "compute_dtype": "float32",
        "min_pixels": 12544,
        "max_pixels": 50176,
    },
    "folds": {"n": 2},
    "train": {"epochs": 3, "batch_size": 4, "accumulation": 1, "checkpoint_minutes": 0, "trackers": []},
    "views": {"hflip": {"enabled": False}},
}
PATIENCE = 900  # seconds; a busy machine is slow


def script_of(service: str) -> str:
    """The code cells of a service's notebook, one after the other."""
    made = json.loads((HERE / f"{service}.ipynb").read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code")


def write_wheel(folder: Path, name: str = "standin", size: int = 10) -> Path:
    """A wheel with one module of about `size` bytes that a set of wheels can hold without any network."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", "#" * size)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return wheel


class NotebookWorld:
    """One user's folders at a service; each machine has a scratch folder of its own."""

    def __init__(self, folder: Path, service: str, profile: str) -> None:
        self.folder, self.service, self.profile = folder, service, profile
        self.input = folder / "input"
        (folder / "my.yaml").parent.mkdir(parents=True, exist_ok=True)
        (folder / "my.yaml").write_text(yaml.safe_dump(DEMO), encoding="utf-8")
        inputs = self.input / "inputs"
        write_wheel(inputs)
        write_wheel_list(inputs)
        pack_workflow(Kit(None, "somebody", config=folder / "my.yaml"), inputs / "workflow.zip")

    def begin(self, machine: str, output: Path, every: float = 10) -> subprocess.Popen:
        """Run all cells on a machine; it prints to the file MACHINE.txt."""
        places = {"INPUT": self.input, "OUTPUT": output, "SCRATCH": self.folder / machine, "PROFILE": self.profile}
        environment = os.environ | {f"VQAFLOW_{name}": str(value) for name, value in places.items()}
        environment |= {"VQAFLOW_EVERY": str(every), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        # In place of the service's own image, whose packages the notebook's environment also sees.
        environment["PYTHONPATH"] = sysconfig.get_paths()["purelib"]
        script = self.folder / f"{machine}.py"
        script.write_text(script_of(self.service), encoding="utf-8")
        with (self.folder / f"{machine}.txt").open("w") as out:
            words = [sys.executable, str(script)]
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            return subprocess.Popen(
                words,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
                **streams,
            )

    def printed(self, machine: str) -> str:
        """What the cells have printed on a machine."""
        return (self.folder / f"{machine}.txt").read_text(encoding="utf-8", errors="replace")

    def wait_for(self, what, run: subprocess.Popen, machine: str) -> None:
        """Wait until `what()` holds while the cells run."""
        end = time.monotonic() + PATIENCE
        while not what():
            assert run.poll() is None and time.monotonic() < end, self.printed(machine)
            time.sleep(0.05)

    def lose(self, machine: str) -> None:
        """End every process of a machine without a signal that it could answer, and remove its disk."""
        sign = f"VQAFLOW_SCRATCH={self.folder / machine}".encode()
        found = True
        while found:
            found = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _has(pid, sign)]
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(self.folder / machine)


def _has(pid: int, sign: bytes) -> bool:
    """Whether a process that is alive has `sign` among the variables of its environment."""
    try:
        is_dead = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        return not is_dead and sign in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
