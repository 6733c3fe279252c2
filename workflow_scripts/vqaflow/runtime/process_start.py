"""How a process starts and ends that imports large libraries: without the seconds that are no work."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

LOST_OUTPUT = 120  # Python's own status where the last output cannot be written
NOT_IN_DIGESTS = True  # when garbage is collected, and how a process ends, change no result


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
