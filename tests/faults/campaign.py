"""All faults, once: `make faults` (KILLS=100 SEED=1). docs/reliability.md says what is promised.

A run that nothing disturbs comes first; everything is compared with its bytes. Ends with exit status 1 if one fault did
not end as promised. Needs Linux, and root for the small disks; without it, these are left out, and that is said.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.damage import damage_runs
from tests.faults.disks import can_mount, disk_runs
from tests.faults.fault_world import Outcome, compared, finished_world
from tests.faults.kills import kill_runs
from tests.faults.runs import clock_set_back, disk_under_snakemake, table_from_the_future, two_at_once
from tests.faults.stages import STAGES, warm_up

PARTS = ("kills", "damage", "disks", "runs")


def main() -> int:
    """Run the campaign; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs in whole runs (default: 100)")
    parser.add_argument("--damage", type=int, default=None, metavar="N", help="only N cases of damaged files")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn at random (default: 1)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of the campaign")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return campaign(given, folder)


def campaign(given: argparse.Namespace, folder: Path) -> int:
    """Run the parts that are asked for, and print what was seen."""
    finished = finished_world(folder / "finished")
    expected = compared(finished / "results")
    scratch = Path(tempfile.mkdtemp(dir=folder))
    parts: dict[str, Callable[[], list[Outcome]]] = {
        "kills": lambda: kill_runs(scratch, expected, given.seed, given.kills),
        "runs": lambda: whole_runs(finished, scratch, expected),
        "damage": lambda: damage_runs(finished, scratch, given.seed, given.damage),
        "disks": lambda: disk_runs(finished, scratch, expected, given.seed, list(STAGES)) if can_mount() else [],
    }
    failed = 0
    for name in (part for part in parts if part in given.only):
        if name == "damage":
            warm_up()
        began = time.monotonic()
        outcomes = parts[name]()
        failed += sum(not outcome.is_right for outcome in outcomes)
        print(f"{name}: {summary(outcomes)} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if failed else 0


def whole_runs(finished: Path, scratch: Path, expected: dict[str, str]) -> list[Outcome]:
    """The faults of whole runs."""
    outcomes = [fault(finished, scratch, expected) for fault in (clock_set_back, table_from_the_future, two_at_once)]
    outcomes += disk_under_snakemake(finished, scratch, expected) if can_mount() else []
    for outcome in outcomes:
        print(outcome, flush=True)
    return outcomes


def summary(outcomes: list[Outcome]) -> str:
    """How many faults ended how."""
    if not outcomes:
        return "left out: a small disk can only be mounted by root"
    right = Counter(outcome.seen for outcome in outcomes if outcome.is_right)
    ends = ", ".join(f"{count} {seen}" for seen, count in right.most_common())
    return f"{len(outcomes)} faults, {len(outcomes) - sum(right.values())} not as promised; {ends}"


if __name__ == "__main__":
    sys.exit(main())
