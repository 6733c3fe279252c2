"""Two devices, tried on one's own machine: folds by hand side by side, one fold shared by both, a process that dies.

python docs/examples/two_gpus.py FOLDER [--epochs N]

Run it in a checkout that has the demo's tables and folds (snakemake results/folds.parquet); it needs no Snakemake. Each
training has a results folder of its own under FOLDER; FOLDER/seen.txt tells what was seen.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path("results")


class Trial:
    """Trainings by hand in `folder`, as several users' terminals would start them."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.epochs, self.lines = folder, epochs, []

    def tell(self, line: str) -> None:
        """Print a line, and keep it for seen.txt."""
        print(line, flush=True)
        self.lines.append(line)

    def start(self, name: str, fold: int, devices: int = 1) -> subprocess.Popen:
        """Start a training in a results folder called `name`."""
        results = self.folder / name
        results.mkdir(parents=True)
        shutil.copytree(RESULTS / "tables", results / "tables")
        shutil.copy(RESULTS / "folds.parquet", results)
        config = f"{{trackers: [], epochs: {self.epochs}, devices: {devices}}}"
        settings = results / "settings.yaml"
        settings.write_text(f"train: {config}\nhardware: {{store: {results / 'store'}}}\n")
        paths = os.pathsep.join(filter(None, [str(ROOT / "workflow_scripts"), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        command = ["train_adapter", "--config", str(settings), "--fold", str(fold), "--results", str(results)]
        with self.log(name).open("w") as log:
            return subprocess.Popen([sys.executable, "-m", "vqaflow", *command], stderr=log, env=environment)

    def log(self, name: str) -> Path:
        """What a training printed."""
        return self.folder / f"{name}.txt"

    def timed(self, what: str, *processes: subprocess.Popen, began: float) -> float:
        """Wait for trainings; returns the seconds since `began`."""
        states = [process.wait() for process in processes]
        seconds = time.monotonic() - began
        self.tell(f"{what}: {seconds:.1f} s, exit status {', '.join(map(str, states))}")
        return seconds

    def adapter(self, name: str, fold: int) -> Path:
        """The adapter of a training."""
        return self.folder / name / "adapters" / "main" / f"fold{fold}"

    def digest(self, name: str, fold: int) -> str:
        """The beginning of the sha256 of its weights."""
        file = self.adapter(name, fold) / "adapter_model.safetensors"
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "none"

    def side_by_side(self) -> None:
        """Two folds, one after the other and at once."""
        now = time.monotonic
        self.timed("a first training, which compiles", self.start("first", 2), began=now())
        turn = sum(self.timed(f"fold {k} in turn", self.start(f"turn{k}", k), began=now()) for k in (0, 1))
        began = now()
        both = [self.start(f"side{k}", k) for k in (0, 1)]
        together = self.timed("both side by side", *both, began=began)
        self.tell(f"side by side takes {together / turn:.3f} of the time in turn")
        for k in (0, 1):
            same = self.digest(f"turn{k}", k) == self.digest(f"side{k}", k) != "none"
            self.tell(f"fold {k}: {'the same bytes' if same else 'OTHER BYTES'}; {self.reserved(f'side{k}')}")

    def reserved(self, name: str) -> str:
        """What a training said of its GPU."""
        lines = [line for line in self.log(name).read_text().splitlines() if "reserved for this job" in line]
        return lines[0].partition(" I ")[2] if lines else "no GPU was reserved"

    def shared(self) -> None:
        """One fold by two devices."""
        began = time.monotonic()
        self.timed("fold 0 by two devices", self.start("both", 0, devices=2), began=began)
        self.tell(self.reserved("both"))
        one, two = (pd.read_csv(self.adapter(name, 0) / "log.csv") for name in ("turn0", "both"))
        for key in ("loss", "val_accuracy"):
            self.tell(f"{key}: one {one[key].tolist()}")
            self.tell(f"{key}: two {two[key].tolist()}; at most {(one[key] - two[key]).abs().max():.2e} apart")

    def dying(self) -> None:
        """A process of two is killed in the middle of the training."""
        process = self.start("dying", 1, devices=2)
        while process.poll() is None and "epoch 1 " not in self.log("dying").read_text():
            time.sleep(0.1)
        (other,) = children(process.pid)
        os.kill(other, signal.SIGKILL)
        self.timed("from the death of a process to the job's end", process, began=time.monotonic())
        for line in self.log("dying").read_text().splitlines():
            if "error" in line or "Traceback" in line:
                self.tell(line)


def children(pid: int) -> list[int]:
    """The other ranks that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"other_rank" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            continue
    return found


def main() -> None:
    """Try all, and write seen.txt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    trial = Trial(arguments.folder.resolve(), arguments.epochs)
    for part in (trial.side_by_side, trial.shared, trial.dying):
        try:
            part()
        except Exception as error:  # the others are still tried
            trial.tell(f"{part.__name__}: {type(error).__name__}: {error}")
        (trial.folder / "seen.txt").write_text("\n".join(trial.lines) + "\n")


if __name__ == "__main__":
    main()
