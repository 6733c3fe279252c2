"""A disk that is full or read-only under the results, at every stage: one message, nothing half-written, and a cure.

The results lie in a small file system in memory, which root may mount. `room` is what is left when a stage starts.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.fault_world import Outcome, differences, is_one_message
from tests.faults.stages import STAGES, outputs_of, run_stage

MEGABYTES = 16
PAGE = 4096
BALLAST = "ballast"


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, megabytes: int = MEGABYTES) -> Iterator[Path]:
    """A file system in memory of so many megabytes at `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "faults", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, room: int) -> None:
    """Leave `room` bytes of a small disk."""
    with (folder / BALLAST).open("wb", buffering=0) as file:
        free = shutil.disk_usage(folder).free - room
        block = bytes(2**16)
        while free > 0:
            try:
                free -= file.write(block[: max(PAGE, min(free, len(block)))])
            except OSError:
                break


def remount(folder: Path, mode: str) -> None:
    """Make a small disk read-only (ro) or writable (rw)."""
    subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)


class DiskRuns:
    """Stages on a small disk that holds a finished run."""

    def __init__(self, finished: Path, folder: Path, expected: dict[str, str]) -> None:
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("results"), symlinks=True)
        (folder / "results").mkdir()
        self.finished, self.folder, self.results, self.expected = finished, folder, folder / "results", expected
        self.outputs = {name: outputs_of(finished, name) for name in STAGES}

    def load(self) -> None:
        """Copy the finished results onto the disk."""
        shutil.copytree(self.finished / "results", self.results, dirs_exist_ok=True)

    def prepare(self, name: str) -> None:
        """Remove what a stage makes, as Snakemake does, and the store, so that it computes."""
        for output in self.outputs[name]:
            place = self.folder / output
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        shutil.rmtree(self.results / "store", ignore_errors=True)

    def full(self, name: str, room: int) -> Outcome:
        """A stage that finds `room` bytes left, and then a free disk."""
        fault = f"{name} with {room // 1024} KB left on the disk"
        self.prepare(name)
        fill(self.results, room)
        ended = run_stage(self.folder, name, self.outputs[name])
        (self.results / BALLAST).unlink()
        wrong = self.cut_short() if ended.status else ""
        if ended.status:
            wrong = wrong or is_one_message(ended.printed, "its disk is full", "Free some space")
        return self.again(name, fault, wrong, "one message" if ended.status else "there was room enough")

    def read_only(self, name: str) -> Outcome:
        """A stage on a read-only disk, and then on a writable one."""
        self.prepare(name)
        remount(self.results, "ro")
        ended = run_stage(self.folder, name, self.outputs[name])
        remount(self.results, "rw")
        wrong = is_one_message(ended.printed, "its disk is read-only", "results") if ended.status else "it ended well"
        return self.again(name, f"{name} on a read-only disk", wrong, "one message")

    def cut_short(self) -> str:
        """Artifacts under their final names that differ from those of the finished run, which are half-written."""
        there = [name for name in differences(self.results, self.expected) if (self.results / name).is_file()]
        return f"half-written: {', '.join(there)}" if there else ""

    def again(self, name: str, fault: str, wrong: str, seen: str) -> Outcome:
        """Run the stage again now that it can; its results must be those of the finished run."""
        if wrong:
            self.load()
            return Outcome(fault, False, wrong)
        ended = run_stage(self.folder, name, self.outputs[name])
        different = differences(self.results, self.expected)
        if ended.status or different:
            self.load()
            return Outcome(fault, False, f"then {ended.status}, {', '.join(different)}: {ended.printed[-1000:]}")
        return Outcome(fault, True, f"{seen}; then the same bytes")


def disk_runs(finished: Path, scratch: Path, expected: dict[str, str], seed: int, names: list[str]) -> list[Outcome]:
    """The stages `names` on a disk without a byte left, with a little room drawn at random, and read-only."""
    rng, outcomes = random.Random(f"disk {seed}"), []
    world = DiskRuns(finished, scratch / "disk", expected)
    with small_disk(world.results):
        world.load()
        for name in names:
            written = sum((finished / out).stat().st_size for out in world.outputs[name] if (finished / out).is_file())
            rooms = [0, rng.randrange(max(PAGE, written))]
            outcomes += [world.full(name, room) for room in rooms]
            outcomes.append(world.read_only(name))
            for outcome in outcomes[-3:]:
                if not outcome.is_right:
                    print(outcome, flush=True)
    return outcomes
