"""How many processor cores a job may use beside its own thread."""

import os

NOT_IN_DIGESTS = True  # how many processes read decides no result
CORES = "VQAFLOW_CORES"  # a job's share of the cores that Snakemake was given; its jobs inherit it


def job_cores() -> int:
    """The cores that the system lets this process use, but not more than its share of a run."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CORES, "")
    return min(allowed, int(share)) if share.isdigit() and int(share) else allowed
