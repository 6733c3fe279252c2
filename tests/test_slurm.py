"""The workflow on a real SLURM (of one machine): the same bytes as here, and a killed training goes on where it was."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_cluster import Cluster, can_start, wait_for
from workflow_world import artifacts, copy_small_workflow, finished_workflow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not can_start(), reason="needs root and the packages slurm-wlm and munge (.ci/run installs them)"
    ),
]
OPTIONS = [
    *("--profile", "profiles/slurm", "--configfile", "config.yaml"),  # the small settings, over the profile's own
    *("--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1", "--latency-wait", "5"),
    *("--default-resources", "mem_mb=1000", "runtime=20", "slurm_partition=debug"),
    *("--set-resources", "train_adapter:mem_mb=3000", "score_choices:mem_mb=3000"),
    *("--set-threads", "train_adapter=1", "score_choices=1"),  # as the local run: sums depend on how many threads add
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run by SLURM, in the course of which the first training was cancelled after a checkpoint.

    What was seen in the queue meanwhile is in the file `queue`, what was cancelled in `cancelled`.
    """
    folder = copy_small_workflow(tmp_path_factory.mktemp("run") / "workflow")
    environment = os.environ | cluster.environment
    seen: set[str] = set()
    with (folder / "printed").open("w") as out:
        command = [sys.executable, "-m", "snakemake", *OPTIONS]
        snakemake = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=environment)

    def trained() -> list[str]:
        """Jobs of trainings that have a checkpoint; notes the queue on the way."""
        assert snakemake.poll() is None, (folder / "printed").read_text()
        rows = cluster.tell("squeue", "--noheader", "--format=%i %T %k").splitlines()
        seen.update(rows)
        folds = [path.parent.name for path in folder.glob("results/work/train/fold*/checkpoint.pt")]
        names = [f" RUNNING rule_train_adapter_wildcards_{fold.removeprefix('fold')}" for fold in folds]
        return [row.split()[0] for row in rows if row.endswith(tuple(names))]

    wait_for("a checkpoint", lambda: bool(trained()), 300)
    job = trained()[0]
    cluster.tell("scancel", job)
    assert snakemake.wait(timeout=600) == 0, (folder / "printed").read_text()
    (folder / "cancelled").write_text(job)
    (folder / "queue").write_text("\n".join(sorted(seen)))
    return folder


def test_the_results_are_those_of_a_local_run(run, tmp_path_factory):
    """Where it ran, and that a training was cancelled, must not be seen in any byte."""
    assert artifacts(run) == artifacts(finished_workflow(tmp_path_factory.getbasetemp()))


def test_every_job_went_through_the_queue(run, cluster):
    """Those that do the work, and each in a job of its own: 14 and the one that was cancelled."""
    states = [job["JobState"] for job in cluster.jobs()]
    assert sorted(set(states)) == ["CANCELLED", "COMPLETED"]
    assert states.count("COMPLETED") == 14 and states.count("CANCELLED") == 1
    queue = (run / "queue").read_text()
    assert "RUNNING rule_train_adapter" in queue and "PENDING rule_" in queue


def test_a_cancelled_training_is_retried_and_resumes(run, cluster):
    cancelled = (run / "cancelled").read_text()
    assert [job["JobId"] for job in cluster.jobs() if job["JobState"] == "CANCELLED"] == [cancelled]
    logs = [path.read_text(encoding="utf-8") for path in (run / "results/logs/train_adapter").glob("*.log")]
    steps = [re.search(r"going on from step (\d+) of", log) for log in logs]
    assert sum(step is not None and int(step[1]) > 0 for step in steps) == 1


def test_the_logs_are_collected(run):
    """SLURM's own files, one a job, beside the stages' logs."""
    kept = list((run / "results/logs/slurm").rglob("*.log"))
    assert len(kept) == 15
    assert any("going on from step" in path.read_text(encoding="utf-8") for path in kept)


def test_jobs_got_the_gpu_that_slurm_gave_them(run):
    """Each training holds the device of its own job, by its scheduler's assignment."""
    for path in (run / "results/logs/train_adapter").glob("*.log"):
        assert "is this job's alone" in path.read_text(encoding="utf-8")
