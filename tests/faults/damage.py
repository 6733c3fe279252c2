"""Every file of a finished run cut short, gone, empty or changed, read by every stage and command that reads it.

Each must end with the results of whole files, or with one message that names the file and the cure.
"""

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault_world import Outcome, compared, is_one_message
from tests.faults.stages import STAGES, TOOLS, Ended, outputs_of, run_stage, run_tool
from tests.faults.watching import OPENED, Watch

# How a file is damaged: from its bytes to others; None: it is gone.
HARMS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "gone": lambda data, rng: None,
    "empty": lambda data, rng: b"",
    "cut in half": lambda data, rng: data[: len(data) // 2],
    "without its last character": lambda data, rng: data.rstrip(b"\r\n")[:-1],
    "zeros from its middle on": lambda data, rng: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    "another kind of file": lambda data, rng: b"null" if data[:1] in b"{[" else b"a\n",
    "an empty object": lambda data, rng: b"{}" if data[:1] in b"{[" else data[: len(data) // 3],
    "a flipped bit": lambda data, rng: flipped(data, rng),
}
# What only checksums find; of text files, `vqaflow verify` finds it.
CHECKED = ("zeros from its middle on", "a flipped bit")
CHECKSUMMED = (".parquet", ".safetensors", ".pt", "run.json")
# Stages whose results the store keeps.
COMPUTING = ("train_adapter", "score_choices")
# The user's own tables, of which nobody else knows how they should be; and what no stage reads.
NOT_DAMAGED = ("demo", "logs", "benchmarks", "tracking", "digests")


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one bit changed."""
    changed = bytearray(data)
    place = rng.randrange(8 * len(data))
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


@dataclass(frozen=True)
class Case:
    """One fault: who reads, which file, and its damage."""

    reader: str
    file: str
    harm: str

    def __str__(self) -> str:
        return f"{self.reader} with {self.file} {self.harm}"


def kinds_of_files(results: Path) -> list[str]:
    """One file of each kind: of folds, and of pictures in one folder, the first stands for all."""
    found: dict[str, str] = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results.parent).as_posix()
        if path.is_file() and not path.name.startswith(".") and path.relative_to(results).parts[0] not in NOT_DAMAGED:
            kind = "".join("#" if part.isdecimal() else part for part in name)
            if path.suffix == ".png" or "work" in path.parts:
                kind = f"{path.parent}/{path.suffix}"
            if "store" in path.parts:
                kind = f"store {path.name}"
            found.setdefault(kind, name)
    return sorted(found.values())


class DamagedRuns:
    """A copy of a finished run in which files are damaged, one at a time."""

    def __init__(self, finished: Path, folder: Path) -> None:
        shutil.copytree(finished, folder, symlinks=True)
        shutil.copytree(finished / "results", folder / "other")
        self.folder, self.results = folder, folder / "results"
        self.outputs = {name: outputs_of(finished, name) for name in STAGES}
        self.before = self.states()
        self.bytes = {name: (folder / name).read_bytes() for name in self.before}
        self.expected = compared(self.results)

    def cases(self, readers: list[str]) -> list[Case]:
        """Each of the stages and commands `readers` with one file of each kind that it opens, and each damage."""
        kinds = set(kinds_of_files(self.results))
        return [
            Case(reader, file, harm)
            for reader in readers
            for file in sorted(self.opened_by(reader) & kinds)
            for harm in HARMS
            if harm not in CHECKED or file.endswith(CHECKSUMMED)
        ]

    def opened_by(self, reader: str) -> set[str]:
        """The files in results that a stage or command opens."""
        watch = Watch(self.results, OPENED)
        self.prepare(reader)
        ended = self.read(reader)
        assert ended.status == 0, (reader, ended.printed)
        found = set()
        while events := watch.wait(0.0):
            found |= {Path(path).relative_to(self.folder).as_posix() for path in events}
        watch.close()
        self.restore()
        return found

    def prepare(self, reader: str, kept: str = "") -> None:
        """Remove what a stage is to make, as Snakemake does, but not the file `kept`."""
        for output in self.outputs.get(reader, []):
            place = self.folder / output
            if kept != output and not place.is_dir():
                place.unlink(missing_ok=True)
        if reader.startswith(COMPUTING) and "store" not in kept:
            shutil.rmtree(self.results / "store", ignore_errors=True)

    def read(self, reader: str) -> Ended:
        """Have the stage or command read the results."""
        outputs = self.outputs.get(reader)
        return run_tool(self.folder, reader) if outputs is None else run_stage(self.folder, reader, outputs)

    def states(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of each file in results."""
        found = {}
        for place, _, names in os.walk(self.results):
            for name in names:
                path = Path(place, name)
                state = path.stat()
                found[path.relative_to(self.folder).as_posix()] = (state.st_size, state.st_mtime_ns)
        return found

    def restore(self) -> None:
        """Put back what a case has changed."""
        now = self.states()
        for name in now.keys() - self.before.keys():
            (self.folder / name).unlink()
        for name, state in self.before.items():
            if now.get(name) != state:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.bytes[name])
                os.utime(path, ns=(state[1], state[1]))

    def run(self, case: Case, rng: random.Random) -> Outcome:
        """Damage one file, let one stage or command read it, and judge how that ends."""
        path = self.folder / case.file
        data = HARMS[case.harm](self.bytes[case.file], rng)
        self.prepare(case.reader, case.file)
        path.unlink(missing_ok=True)
        if data is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        ended = self.read(case.reader)
        outcome = self.judged(case, ended)
        self.restore()
        return outcome

    def judged(self, case: Case, ended: Ended) -> Outcome:
        """Whether a case ended with whole results, or with one message."""
        if case.reader == "verify":
            wrong = "a traceback" if "Traceback" in ended.printed else ""
            return Outcome(str(case), not wrong, wrong or "told")
        if ended.status == 0:
            if "Traceback" in ended.printed:
                return Outcome(str(case), False, f"a traceback, exit status 0: {ended.printed[-1500:]}")
            made = {name.removeprefix("results/") for name in self.outputs.get(case.reader, [])}
            found = compared(self.results)
            wrong = [
                name
                for name, digest in self.expected.items()
                if any(name == out or name.startswith(f"{out}/") for out in made) and found.get(name) != digest
            ]
            return Outcome(str(case), not wrong, f"other bytes: {', '.join(wrong)}" if wrong else "as with whole files")
        if ended.status < 0:
            return Outcome(str(case), False, f"ended by signal {-ended.status}")
        wrong = is_one_message(ended.printed)
        file = Path(case.file)
        named = any(name in ended.printed for name in (file.as_posix(), f"{file.parent.as_posix()}"))
        if not wrong and not named:
            wrong = f"the message does not name the file: {ended.printed[-400:]}"
        return Outcome(str(case), not wrong, wrong or "one message")


def damage_runs(
    finished: Path, scratch: Path, seed: int, most: int | None = None, readers: int | None = None
) -> list[Outcome]:
    """All cases, or `most` of them, with only so many stages and commands as `readers`, drawn at random."""
    world = DamagedRuns(finished, scratch / "damaged")
    rng = random.Random(f"damage {seed}")
    known = [name for name in (*STAGES, *TOOLS) if name not in ("prepare_demo", "validate_tables")]  # the user's tables
    cases = world.cases(known if readers is None else rng.sample(known, readers))
    print(f"{len(cases)} cases of damaged files", flush=True)
    if most is not None:
        cases = rng.sample(cases, min(most, len(cases)))
    outcomes = []
    for case in cases:
        outcomes.append(world.run(case, rng))
        if not outcomes[-1].is_right:
            print(outcomes[-1], flush=True)
    return outcomes
