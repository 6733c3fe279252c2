"""The workflow on a real SLURM (of one machine): the same bytes as here, and killed jobs go on where they were."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import yaml

from places import takes_minutes
from slurm_cluster import Cluster, can_start, wait_for
from vqaflow.search.study import storage
from workflow_world import artifacts, copy_small_workflow, finished_workflow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not can_start(), reason="needs root and the packages slurm-wlm and munge (.ci/run installs them)"
    ),
]
OPTIONS = [
    *("--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1", "--latency-wait", "5"),
    *("--default-resources", "mem_mb=1000", "runtime=20", "slurm_partition=debug"),
    "--set-resources",
    *(f"{rule}:mem_mb=3000" for rule in ("store_base", "train_adapter", "score_choices", "run_trials")),
    # As in the local run: sums depend on how many threads add.
    *("--set-threads", "train_adapter=1", "score_choices=1", "run_trials=1"),
]
TRIALS = 4


@dataclass(frozen=True)
class Run:
    """What a call of Snakemake in `folder` had SLURM do: `jobs` by its completion log, `queue` as seen meanwhile."""

    folder: Path
    jobs: list[dict[str, str]]
    queue: set[str]
    cancelled: str
    """The job that was cancelled in the course of it."""

    def states(self) -> list[str]:
        """How the jobs ended, sorted."""
        return sorted(job["JobState"] for job in self.jobs)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory):
    with Cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


def run_and_cancel(
    cluster: Cluster, folder: Path, files: list[str], targets: list[str], victims: Callable[[], list[str]]
) -> Run:
    """Run Snakemake in `folder`; cancel the first running job that is among `victims` (names without "rule_")."""
    before, queue = len(cluster.jobs()), set()
    with (folder / "printed").open("w") as out:
        # The small settings lie over the profile's own.
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", *files, *OPTIONS]
        environment = os.environ | cluster.environment
        snakemake = subprocess.Popen([*command, "--", *targets], cwd=folder, stdout=out, stderr=out, env=environment)

    def running() -> list[str]:
        assert snakemake.poll() is None, (folder / "printed").read_text()
        rows = cluster.run("squeue", "--noheader", "--format=%i %T %k").splitlines()
        queue.update(rows)
        names = tuple(f" RUNNING rule_{name}" for name in victims())
        return [row.split()[0] for row in rows if row.endswith(names)]

    wait_for("a job with a checkpoint", lambda: bool(running()), 900)
    cancelled = running()[0]
    cluster.run("scancel", cancelled)
    assert snakemake.wait(timeout=1800) == 0, (folder / "printed").read_text()
    wait_for("an empty queue", lambda: not cluster.run("squeue", "--noheader"))
    return Run(folder, cluster.jobs()[before:], queue, cancelled)


@pytest.fixture(scope="module")
def run(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run by SLURM, in the course of which the first training was cancelled after a checkpoint."""
    folder = copy_small_workflow(tmp_path_factory.mktemp("run") / "workflow")

    def trained() -> list[str]:
        folds = [path.parent.name for path in folder.glob("results/work/train/main/fold*/checkpoint.pt")]
        return [f"train_adapter_wildcards_main_{fold.removeprefix('fold')}" for fold in folds]

    return run_and_cancel(cluster, folder, ["config.yaml"], ["all"], trained)


@pytest.fixture(scope="module")
def search(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A search by two workers on a finished run's tables, the first of which was cancelled in the middle of a trial."""
    copy = tmp_path_factory.mktemp("search") / "workflow"
    folder = Path(shutil.copytree(finished_workflow(tmp_path_factory.getbasetemp()), copy))
    space = {"epochs": {"choice": [2, 3]}, "choice_orders": {"choice": [1, 2]}}
    hpo = {"trials": TRIALS, "workers": 2, "pruner": "none", "space": space}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"hpo": hpo}), encoding="utf-8")

    def searching() -> list[str]:
        begun = list(folder.glob("results/work/hpo/main/search-*/trial*/fold0/checkpoint.pt"))
        return ["run_trials_wildcards_main_0"] if begun else []

    files = ["config.yaml", "docs/examples/demo_search.yaml", "mine.yaml"]
    return run_and_cancel(cluster, folder, files, ["results/hpo/main/best.yaml"], searching)


def test_the_results_are_those_of_a_local_run(run, tmp_path_factory):
    """Where it ran, and that a training was cancelled, must not be seen in any byte."""
    assert artifacts(run.folder) == artifacts(finished_workflow(tmp_path_factory.getbasetemp()))


def test_every_job_went_through_the_queue(run):
    """Those that do the work, and each in a job of its own: 17 and the one that was cancelled."""
    assert run.states() == ["CANCELLED", *["COMPLETED"] * 17]
    queue = "\n".join(run.queue)
    assert "RUNNING rule_train_adapter" in queue and "PENDING rule_" in queue


def test_a_cancelled_training_is_retried_and_resumes(run):
    assert [job["JobId"] for job in run.jobs if job["JobState"] == "CANCELLED"] == [run.cancelled]
    logs = [path.read_text(encoding="utf-8") for path in (run.folder / "results/logs/train_adapter").glob("*.log")]
    steps = [re.search(r"resuming from step (\d+) of", log) for log in logs]
    assert sum(step is not None and int(step[1]) > 0 for step in steps) == 1


def test_the_logs_are_collected(run):
    """SLURM's own files, one per job, beside the stages' logs."""
    kept = list((run.folder / "results/logs/slurm").rglob("*.log"))
    assert len(kept) == 18
    assert any("resuming from step" in path.read_text(encoding="utf-8") for path in kept)


@pytest.mark.parametrize(
    ("of", "rule"), [("run", "train_adapter"), pytest.param("search", "run_trials", marks=takes_minutes)]
)
def test_jobs_got_the_gpu_that_slurm_gave_them(of, rule, request):
    """Each training and each worker holds the device of its own job, by its scheduler's assignment."""
    logs = list((request.getfixturevalue(of).folder / f"results/logs/{rule}").glob("*.log"))
    assert len(logs) == 2
    assert all("is reserved for this job" in path.read_text(encoding="utf-8") for path in logs)


@takes_minutes
def test_workers_of_a_search_are_jobs_of_their_own(search):
    """Two of them at a time and then the choice of the best; the cancelled one was submitted again."""
    assert search.states() == ["CANCELLED", *["COMPLETED"] * 3]
    assert [job["JobId"] for job in search.jobs if job["JobState"] == "CANCELLED"] == [search.cancelled]
    assert {f"run_trials_wildcards_main_{n}" for n in range(2)} <= {row.rpartition(" rule_")[2] for row in search.queue}


@takes_minutes
def test_a_cancelled_workers_trial_is_resumed_and_counted_once(search):
    """All trials have an end, each by one worker, and best.yaml rests on them."""
    hpo = search.folder / "results/hpo/main"
    told = [json.loads(path.read_text(encoding="utf-8")) for path in hpo.glob("workers/*.json")]
    assert sorted(number for worker in told for number in worker["trials"]) == list(range(TRIALS))
    study = optuna.load_study(study_name=told[0]["study"], storage=storage(hpo / "study.db"))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
    slurm_logs = (search.folder / "results/logs/slurm").rglob("*.log")
    assert any("has lost its worker and continues here" in path.read_text(encoding="utf-8") for path in slurm_logs)
    best = yaml.safe_load((hpo / "best.yaml").read_text(encoding="utf-8"))
    assert best["study"]["complete"] == TRIALS
    assert best["accuracy"]["value"] == study.best_value
