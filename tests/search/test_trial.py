"""What a trial is worth: the real training, on a fair part of the rows, with the base as it was for the next one."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import rows
import training_world
from vqaflow.artifacts.rows import Row
from vqaflow.config.loading import load_config
from vqaflow.config.sections import HpoConfig, ModelConfig, PromptConfig, section
from vqaflow.runtime.errors import NotFinite, OutOfMemory, UserError
from vqaflow.runtime.locks import Lease, locks_are_local
from vqaflow.runtime.stage import memory_problem
from vqaflow.search import run_trials as worker_run
from vqaflow.search import trial as search_trial
from vqaflow.search.rows import stratified_subset
from vqaflow.search.search_hyperparameters import search_hyperparameters
from vqaflow.search.shares import SHARES
from vqaflow.search.trial import TrialInputs, TrialTrainer
from vqaflow.training import train_adapter as training
from vqaflow.training.checkpoints import StopRequest
from vqaflow.training.loop import Trainer


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """One for the module."""
    return training_world.make_world(tmp_path_factory.mktemp("world"))


SPACE = {"learning_rate": {"log_range": [1e-3, 1e-1]}, "lora.r": {"choice": [4, 8]}}
HPO = {"trials": 3, "max_minutes": 0, "seed": 1, "folds": [0], "subset": 1.0, "pruner": "none", "space": SPACE}


def trial_inputs(world: Path, hpo: Mapping[str, Any] | None = None, **train: Any) -> TrialInputs:
    """The inputs of trials that train as jobs of the world do."""
    job = training_world.job(world, "trials", **({"epochs": 1} | train))
    return TrialInputs(
        table=Path(job["table"]),
        folds=Path(job["folds"]),
        model=section(ModelConfig, job["model"]),
        prompt=section(PromptConfig, job["prompt"]),
        train=job["train"],
        hpo=section(HpoConfig, HPO | dict(hpo or {})),
        bases=Path(job["bases"]),
        vision=Path(job["vision"]),
    )


def trainer(world: Path, hpo: Mapping[str, Any] | None = None, **train: Any) -> TrialTrainer:
    """A trainer of the world's rows."""
    return TrialTrainer(trial_inputs(world, hpo, **train))


def ignore(step: int, accuracy: float) -> None:
    """A report that nobody reads."""


@pytest.fixture
def shared(world: Path) -> TrialTrainer:
    """A trainer for both folds, whose base the trials of a test train on in turn."""
    return trainer(world, {"folds": [0, 1]})


@pytest.fixture
def single(world: Path) -> TrialTrainer:
    """The same for one fold."""
    return trainer(world)


@pytest.fixture(scope="module")
def usual(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """The accuracy of the configuration as it stands."""
    return trainer(world).value({}, tmp_path_factory.mktemp("usual"), ignore, StopRequest())


def test_a_trial_on_all_rows_is_the_training_itself(world: Path, shared: TrialTrainer, tmp_path: Path) -> None:
    """Else the search would tune another training; and the second trial on the same base must not feel the first."""
    seen = []
    for name, parameters in [("a", {"lora.r": 8}), ("other", {"lora.r": 4}), ("b", {"lora.r": 8})]:
        seen.append(shared.value(parameters, tmp_path / name, ignore, StopRequest()))
    assert seen[0] == seen[2] != seen[1]
    for fold in (0, 1):
        job = training_world.job(world, f"real{fold}", epochs=1, lora=shared.train["lora"] | {"r": 8})
        history = pd.read_csv(training_world.run(job | {"fold": fold}) / "log.csv")
        assert np.mean(seen[0][fold]) == history["val_accuracy"].max()


def test_validations_are_reported_as_means_over_the_folds(shared: TrialTrainer, tmp_path: Path) -> None:
    """The pruner compares equal shares of all trials' schedules, whatever number of epochs they have."""
    reports: list[tuple[int, float]] = []
    values = shared.value({}, tmp_path, lambda *given: reports.append(given), StopRequest())
    steps = [step for step, _ in reports]
    assert steps == sorted(set(steps)) and max(steps) == 2 * SHARES
    first_of_second = next(i for i, step in enumerate(steps) if step > SHARES)
    first, second = (float(np.mean(rows)) for rows in values)
    assert max(accuracy for _, accuracy in reports[:first_of_second]) == first
    assert max(2 * accuracy - first for _, accuracy in reports[first_of_second:]) == pytest.approx(second)


def test_a_taken_over_trial_does_not_repeat_finished_folds(
    shared: TrialTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model of 7B a fold is hours."""
    values = shared.value({}, tmp_path, ignore, StopRequest())
    monkeypatch.setattr(Trainer, "run", pytest.fail)
    assert shared.value({}, tmp_path, ignore, StopRequest()) == values


def test_a_signal_leaves_a_checkpoint_to_go_on_from(
    single: TrialTrainer, usual: list[list[float]], tmp_path: Path
) -> None:
    """And what goes on ends with the same accuracies."""
    request = StopRequest()

    def stop_after_the_first(step: int, accuracy: float) -> None:
        request.signal = 15

    with pytest.raises(SystemExit):
        single.value({}, tmp_path, stop_after_the_first, request)
    assert (tmp_path / "fold0" / "checkpoint.pt").is_file()
    assert single.value({}, tmp_path, ignore, StopRequest()) == usual


def test_a_diverged_trial_is_not_finite_and_harms_no_other(
    single: TrialTrainer, usual: list[list[float]], tmp_path: Path
) -> None:
    """The reason is reported, and the next trial gets a base without what diverged."""
    with pytest.raises(NotFinite):
        single.value({"learning_rate": 1e30}, tmp_path / "diverged", ignore, StopRequest())
    assert single.value({}, tmp_path / "after", ignore, StopRequest()) == usual


def test_a_too_large_trial_is_out_of_memory_and_harms_no_other(
    single: TrialTrainer, usual: list[list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where torch says so in words only, as on the CPU."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda *_: torch.empty(1 << 50))
        with pytest.raises(OutOfMemory, match="memory"):
            single.value({}, tmp_path / "large", ignore, StopRequest())
    assert single.value({}, tmp_path / "after", ignore, StopRequest()) == usual
    assert not memory_problem(RuntimeError("shapes do not match"))


def test_the_subset_is_stratified_and_keeps_groups_whole() -> None:
    """Half the rows are half of every type and answer, and no picture is in and out at once."""
    choices = ("", "", "", "")
    table = [Row(f"{i}", "", choices, "ab"[i % 2], "", "", 1, 1, "abcd"[i // 2 % 4]) for i in range(640)]
    groups = {row.id: i // 16 * 8 + i % 8 for i, row in enumerate(table)}
    kept = stratified_subset(table, groups, 0.5, seed=3)
    assert len(kept) == 320
    counts = Counter((row.qtype, row.answer) for row in kept)
    assert set(counts.values()) == {40}
    inside = {groups[row.id] for row in kept}
    assert not inside & {groups[row.id] for row in table if row not in kept}
    assert kept == stratified_subset(table, groups, 0.5, seed=3) != stratified_subset(table, groups, 0.5, seed=4)
    assert stratified_subset(table, groups, 1.0, seed=3) == table


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"train": {"checkpoint_minutes": 7, "trackers": ["tensorboard"], "max_minutes": 5}}, True),
        ({"hpo": {"trials": 30, "max_minutes": 9}}, True),
        ({"hpo": {"space": dict(reversed(SPACE.items()))}}, True),
        ({"train": {"weight_decay": 0.3}}, False),
        ({"train": {"seed": 1}}, False),
        ({"hpo": {"subset": 0.5}}, False),
        ({"hpo": {"seed": 2}}, False),
        ({"hpo": {"space": SPACE | {"lora.r": {"choice": [4, 8, 16]}}}}, False),
    ],
)
def test_a_search_is_the_same_while_its_trials_are_worth_the_same(world: Path, change: dict, same: bool) -> None:
    """Trials of other data or settings are never mixed, and none is thrown away for what changes no value."""
    changed = trainer(world, change.get("hpo"), **change.get("train", {}))
    assert (changed.identity() == trainer(world).identity()) is same


@pytest.mark.parametrize("name", ["base_digest", "compute_dtype", "quantization", "best_device", "decisive_versions"])
def test_another_base_precision_or_versions_are_another_search(
    world: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Accuracies of another base, or in float16 beside float32, would be compared as if they were of one search."""
    one = trainer(world)
    before = one.identity()
    other = torch.device("meta") if name == "best_device" else "another"
    monkeypatch.setattr(search_trial, name, lambda *given: other)
    assert one.identity() != before


def test_other_code_is_another_search(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that draws parameters counts as the trainer's does: else new code would continue old draws."""
    names: list[str] = []
    monkeypatch.setattr(worker_run, "work_off", lambda study, *_: names.append(study.name))
    for digest in ("old", "new", "new"):
        monkeypatch.setattr(worker_run, "code_digest", lambda file, digest=digest: digest)
        worker_run.run_trials(trial_inputs(world), work=tmp_path / "work" / "hpo", out=tmp_path / "worker0.json")
    assert names[0] != names[1] == names[2]


@pytest.mark.parametrize(("name", "change"), [("model", {"max_pixels": 60 * 56}), ("prompt", {"system": "Answer."})])
def test_other_pixels_or_words_are_another_search(world: Path, name: str, change: dict[str, Any]) -> None:
    """Trials that saw other inputs are worth nothing beside the new ones."""
    given = trial_inputs(world)
    changed = replace(given, **{name: replace(getattr(given, name), **change)})
    one, other = (TrialTrainer(inputs) for inputs in (given, changed))
    assert one.identity() != other.identity()


def test_other_rows_are_another_search(world: Path, tmp_path: Path) -> None:
    """A corrected answer is worth another accuracy, whether it was trained on or held out."""
    given, identities = trial_inputs(world), []
    for row in (None, 0, 1):
        table = pd.read_parquet(given.table)
        if row is not None:
            table.loc[row, "answer"] = "d"
        table.to_parquet(tmp_path / "table.parquet")
        changed = replace(given, table=tmp_path / "table.parquet")
        identities.append(TrialTrainer(changed).identity())
    assert identities[0] not in identities[1:] and identities[1] != identities[2]


@pytest.mark.parametrize(("name", "rule"), [("table", "validate_tables"), ("folds", "make_folds")])
def test_inputs_that_are_missing_are_told_with_their_rule(world: Path, tmp_path: Path, name: str, rule: str) -> None:
    """Who searches by hand would get a traceback of pandas, and not learn what to run before."""
    given = replace(trial_inputs(world), **{name: tmp_path / "given.parquet"})
    with pytest.raises(UserError, match=rf"given\.parquet: is missing\. Run the rule {rule}\."):
        TrialTrainer(given)


@pytest.mark.slow
def test_best_parameters_reach_the_adapter_and_equal_ones_retrain_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way; another best.yaml with the same parameters takes the adapter from the store."""
    out = tmp_path / "hpo"
    worker_run.run_trials(trial_inputs(world), work=tmp_path / "work" / "hpo", out=out / "worker0.json")
    search_hyperparameters(
        workers=[out / "worker0.json"],
        work=tmp_path / "work" / "hpo",
        trials=3,
        best_out=out / "best.yaml",
        study_out=out / "study.db",
        figures_out=out / "figures",
    )
    best = yaml.safe_load((out / "best.yaml").read_text(encoding="utf-8"))
    assert best["saw"]["folds"] == [{"fold": 0, "training_rows": 20, "of": 20, "held_out_rows": 20}]
    job = training_world.job(world, "best", epochs=1) | {"best": out / "best.yaml"}
    told = json.loads((training_world.run(job) / "run.json").read_text(encoding="utf-8"))
    assert told["train"]["learning_rate"] == best["parameters"]["learning_rate"]
    assert told["train"]["lora"]["r"] == best["parameters"]["lora.r"]
    history = pd.read_csv(Path(job["out"]) / "log.csv")
    assert history["val_accuracy"].max() == best["accuracy"]["value"]

    best["study"]["digest"] = "of another search"
    (out / "best.yaml").write_text(yaml.safe_dump(best), encoding="utf-8")
    monkeypatch.setattr(training.Job, "run", pytest.fail)
    training_world.run(job)


MOUNTS = """\
overlay / overlay rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2,local_lock=none 0 0
server:/old /home/old nfs rw,vers=3,nolock,local_lock=all 0 0
mgs:/lustre /scratch lustre rw,localflock 0 0
mgs:/work /my\\040work lustre rw,flock 0 0
"""


@pytest.mark.parametrize(
    ("folder", "local"),
    [("/tmp/x", False), ("/home/me", False), ("/home/old/me", True), ("/scratch/me", True), ("/my work/me", False)],
)
def test_file_systems_whose_locks_end_at_the_machine_are_known(folder: str, local: bool) -> None:
    """On them two machines would take over each other's living trials."""
    assert locks_are_local(Path(folder), MOUNTS) is local


def test_a_file_system_without_locks_is_an_error_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre without the option flock answers so."""

    def refuse(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(Exception, match="has no locks .*option flock"):
        Lease(tmp_path / "lock").take()


def test_the_default_configuration_can_be_searched() -> None:
    """config.yaml's own section is what the dataclass expects."""
    hpo = load_config(rows.ROOT / "config.yaml")["hpo"]
    assert {*HPO, "enabled", "workers"} == set(hpo)
