"""The search within the workflow: there only while it is enabled, and rerun only as far as a change asks for."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from workflow_world import WorkflowWorld, finished_workflow, snakemake

SEARCH = {"run_trials", "search_hyperparameters"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """A finished workflow with the demo's search."""
    world = WorkflowWorld(tmp_path_factory.mktemp("search") / "workflow", "docs/examples/demo_search.yaml")
    yield world
    world.close()


def test_a_finished_search_is_finished(world: WorkflowWorld) -> None:
    """Else every call would search again."""
    assert world.plan().jobs == {}


def test_disabled_it_is_no_part_of_the_workflow(world: WorkflowWorld) -> None:
    """Without a search there is no job and no dependency of it, and trainings use the configuration."""
    plan = world.plan({"hpo": {"enabled": False}}, "--forceall")
    assert not SEARCH & plan.rules
    assert plan.jobs["train_adapter"] == 3
    assert world.plan({"hpo": {"enabled": False}}).direct == {"train_adapter"}


def test_enabled_it_comes_between_folds_and_training(world: WorkflowWorld) -> None:
    """The workers are jobs beside each other, and adapters wait for what they find."""
    assert world.plan(None, "--forceall").jobs["run_trials"] == 2
    followers = world.followers
    assert SEARCH <= followers["make_folds"]
    assert "train_adapter" in followers["search_hyperparameters"]


@pytest.mark.parametrize(
    ("change", "direct"),
    [
        ({"trials": 20}, {"run_trials"}),
        ({"max_minutes": 5}, {"run_trials"}),
        ({"space": {"epochs": {"choice": [1]}}}, {"run_trials"}),
        ({"workers": 1}, {"search_hyperparameters"}),
    ],
)
def test_a_changed_key_reruns_what_reads_it(world: WorkflowWorld, change: dict, direct: set[str]) -> None:
    """More trials or time are added by the workers; fewer workers make none run again."""
    plan = world.plan({"hpo": change})
    assert plan.direct == direct
    assert {"search_hyperparameters", "train_adapter"} <= plan.rules
    assert plan.jobs.get("run_trials", 0) == (2 if "run_trials" in direct else 0)


def test_one_more_worker_is_one_more_job(world: WorkflowWorld) -> None:
    """The other workers' trials stay."""
    assert world.plan({"hpo": {"workers": 3}}).jobs["run_trials"] == 1


def test_a_rewritten_best_yaml_with_the_same_bytes_retrains_nothing(world: WorkflowWorld, tmp_path: Path) -> None:
    """Its time alone says nothing."""
    with closing(world.copied(tmp_path / "workflow")) as edited:
        best = edited.folder / "results" / "hpo" / "main" / "best.yaml"
        best.write_bytes(best.read_bytes())
        os.utime(best)
        assert edited.plan().jobs == {}
        best.write_text("parameters: {epochs: 1}\n")
        assert edited.plan().direct == {"train_adapter"}


@pytest.mark.slow
def test_the_search_for_real(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two workers find parameters, a training takes them, and equal ones in another file train nothing again."""
    copy = tmp_path_factory.mktemp("searching") / "workflow"
    folder = Path(shutil.copytree(finished_workflow(tmp_path_factory.getbasetemp()), copy))
    hpo = {"trials": 3, "workers": 2, "space": {"epochs": {"choice": [1, 2]}, "choice_orders": {"choice": [1, 2]}}}
    (folder / "mine.yaml").write_text(yaml.safe_dump({"hpo": hpo}), encoding="utf-8")
    files = ["--configfile", "docs/examples/demo_search.yaml", "mine.yaml"]
    command = ["--cores", "2", *files, "--", "results/adapters/main/fold1"]
    best_file, log = folder / "results/hpo/main/best.yaml", folder / "results/logs/train_adapter/main.fold1.log"

    done = snakemake(folder, *command)
    assert done.returncode == 0, done.stdout
    best = yaml.safe_load(best_file.read_text(encoding="utf-8"))
    trained = json.loads((folder / "results/adapters/main/fold1/run.json").read_text(encoding="utf-8"))["train"]
    assert trained["learning_rate"] == best["parameters"]["learning_rate"]
    assert trained["lora"]["alpha"] == best["parameters"]["lora.alpha"]
    assert "taken from the store" not in log.read_text(encoding="utf-8")

    best["study"]["digest"] = "of another search that came to the same"
    best_file.write_text(yaml.safe_dump(best), encoding="utf-8")
    done = snakemake(folder, *command)
    assert done.returncode == 0, done.stdout
    assert "taken from the store" in log.read_text(encoding="utf-8")
