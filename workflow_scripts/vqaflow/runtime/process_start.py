"""Processes of vqaflow: their start and end without the seconds that are no work, their cores, and those they start."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

LOST_OUTPUT = 120  # Python's own status where the last output cannot be written
CORES = "VQAFLOW_CORES"  # a job's share of the cores that Snakemake was given; its jobs inherit it
NOT_IN_DIGESTS = True  # when garbage is collected, how a process ends and how many share its work change no result


@contextmanager
def importing() -> Iterator[None]:
    """Import large libraries in this block: no garbage is looked for among their half a million new objects."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def end_process(status: int) -> NoReturn:
    """End the process once its threads have ended and what was to be done at its end is done, as Python does.

    Python would then take all libraries apart, object by object, which needs seconds; the system frees their memory.
    """
    threading._shutdown()  # both as multiprocessing ends its processes
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            status = status or LOST_OUTPUT
    os._exit(status)


def is_job() -> bool:
    """Whether this process runs a rule's script for Snakemake, and nothing else."""
    given = getattr(sys.modules["__main__"], "snakemake", None)
    return hasattr(given, "wildcards")  # a session that imports Snakemake has the module under this name


def job_cores() -> int:
    """The cores that the system lets this process use, but not more than its share of a run."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES, "")
    return min(allowed, int(share)) if share.isdigit() and int(share) else allowed


def package_environment(*before: str) -> dict[str, str]:
    """This process's environment, in which another Python finds this package, after the folders `before`."""
    folders = [*before, str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}


def last_words(output: str) -> str:
    """The last line of a process's output that says something."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
