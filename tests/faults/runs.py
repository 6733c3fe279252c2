"""Faults of whole runs: a clock set back, two runs at once, a full or read-only disk under Snakemake itself."""

import os
import shutil
import time
from pathlib import Path

from tests.faults.disks import BALLAST, fill, remount, small_disk
from tests.faults.fault_world import (
    Outcome,
    begin,
    differences,
    forget_output,
    is_one_message,
    make_world,
    printed_by,
    unlock,
)

FUTURE = 3 * 24 * 3600  # seconds
AGAIN = ("--forcerun", "make_folds", "pool_member")  # what runs again on a finished run


def ended(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a run of Snakemake."""
    forget_output(folder)
    process = begin(folder, *arguments)
    return process.wait(), printed_by(folder)


def copied(finished: Path, folder: Path) -> Path:
    """A copy of a finished run."""
    shutil.copytree(finished, folder, symlinks=True)
    return folder


def clock_set_back(finished: Path, scratch: Path, expected: dict[str, str]) -> Outcome:
    """All results are from the future; some stages run again."""
    folder, at = copied(finished, scratch / "clock"), time.time() + FUTURE
    for path in (folder / "results").rglob("*"):
        os.utime(path, (at, at))
    status, printed = ended(folder, *AGAIN)
    different = differences(folder / "results", expected)
    is_right = status == 0 and not different and "Traceback" not in printed
    seen = "the same bytes" if is_right else f"exit status {status}, {different}: {printed[-1500:]}"
    return Outcome("the clock was set back by three days", is_right, seen)


def table_from_the_future(finished: Path, scratch: Path, expected: dict[str, str]) -> Outcome:
    """A table of the user has a time in the future: named, with both times."""
    folder, at = copied(finished, scratch / "future"), time.time() + FUTURE
    shutil.copyfile(folder / "results/demo/train.csv", folder / "mine.csv")
    os.utime(folder / "mine.csv", (at, at))
    settings = "{data: {train_csv: mine.csv}, model: {allow_demo_base: true}}"
    (folder / "mine.yaml").write_text(settings, encoding="utf-8")
    status, printed = ended(folder, "--configfile", "mine.yaml", "--", "results/tables/train.parquet")
    wrong = is_one_message(printed, "mine.csv", "touch mine.csv") if status else "it ran"
    return Outcome("a table of the user from the future", not wrong, wrong or "one message")


def two_at_once(finished: Path, scratch: Path, expected: dict[str, str]) -> Outcome:
    """Two runs in one folder: Snakemake refuses the second; past its lock, both must end with the same bytes."""
    folder = make_world(scratch / "twice")
    (folder / "results").mkdir(exist_ok=True)
    shutil.copytree(finished / "results/demo", folder / "results/demo")
    first = begin(folder)
    while not list((folder / "results").glob("work/jobs/*.lock")) and first.poll() is None:
        time.sleep(0.1)
    refused = begin(folder)
    assert refused.wait() != 0 and "Directory cannot be locked" in printed_by(folder), printed_by(folder)
    unlock(folder)
    second = begin(folder, "--nolock")
    statuses = [first.wait(), second.wait()]
    if 0 not in statuses:
        return Outcome("two runs at once", False, f"exit statuses {statuses}: {printed_by(folder)[-2000:]}")
    status, printed = ended(folder)
    different = differences(folder / "results", expected)
    is_right = status == 0 and not different and "Traceback" not in printed_by(folder)
    seen = f"refused by Snakemake; without its lock, exit statuses {statuses}, then the same bytes"
    return Outcome("two runs at once", is_right, seen if is_right else f"{status}, {different}: {printed[-1500:]}")


def disk_under_snakemake(finished: Path, scratch: Path, expected: dict[str, str]) -> list[Outcome]:
    """The results are on a full, then on a read-only disk, and Snakemake is asked for more."""
    folder, outcomes = copied(finished, scratch / "whole"), []
    kept = folder.with_name("kept")
    (folder / "results").rename(kept)
    with small_disk(folder / "results") as results:
        shutil.copytree(kept, results, dirs_exist_ok=True)
        for fault, words in (("full", "its disk is full"), ("read-only", "its disk is read-only")):
            fill(results, 0) if fault == "full" else remount(results, "ro")
            status, printed = ended(folder, *AGAIN)
            (results / BALLAST).unlink() if fault == "full" else remount(results, "rw")
            wrong = is_one_message(printed, words, "results") if status else "it ended well"
            outcomes.append(Outcome(f"Snakemake with results on a {fault} disk", not wrong, wrong or "one message"))
        status, printed = ended(folder, *AGAIN)
        different = differences(results, expected)
        is_right = status == 0 and not different
        seen = "the same bytes" if is_right else f"exit status {status}, {different}: {printed[-1000:]}"
        outcomes.append(Outcome("Snakemake once the disk can be written again", is_right, seen))
    return outcomes
