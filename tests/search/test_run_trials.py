"""A search that several workers share: nothing is counted twice or lost if one is killed, and it can be repeated."""

import gc
import json
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search_world import SPACE, accuracy, open_study, quick, slow, start_worker
from vqaflow.runtime.errors import NotFinite, OutOfMemory, UserError
from vqaflow.runtime.stage import stage
from vqaflow.search.shares import step_of
from vqaflow.search.space import Dimension, Report
from vqaflow.search.study import FILE, MOST_TRIES, SharedStudy, counted_trials, covered, storage
from vqaflow.search.worker import work_off
from vqaflow.training.checkpoints import StopRequest


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def sequence(study: SharedStudy) -> list[tuple[int, dict, float | None, str]]:
    """What a search did."""
    return [(t.number, t.params, t.value, t.state.name) for t in counted_trials(study.study)]


def test_one_worker_with_the_same_seed_does_the_same(tmp_path: Path) -> None:
    """A search can be repeated: same parameters, values and states in order; another seed is another search."""
    runs = []
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        study = open_study(tmp_path / name, seed=seed, trials=7, pruner="median")
        work_off(study, quick, StopRequest())
        runs.append(sequence(study))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len(runs[0]) == 7


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_extended_search_goes_on_with_its_sequence(tmp_path: Path, pruner: str) -> None:
    """hpo.trials raised from 4 to 7 runs three trials more, and ends as a search of 7 would have."""
    whole = open_study(tmp_path / "whole", trials=7, pruner=pruner)
    work_off(whole, quick, StopRequest())
    work_off(open_study(tmp_path / "parts", trials=4, pruner=pruner), quick, StopRequest())
    values = []
    extended = open_study(tmp_path / "parts", trials=7, pruner=pruner)
    work_off(extended, lambda *given: values.append(given) or quick(*given), StopRequest())
    assert len(values) == 3
    assert sequence(extended) == sequence(whole)


def test_finished_search_runs_nothing(tmp_path: Path) -> None:
    """Running it again costs no training."""
    work_off(open_study(tmp_path), quick, StopRequest())
    work_off(open_study(tmp_path, "worker1"), pytest.fail, StopRequest())


def test_trial_0_is_the_configuration_as_it_stands(tmp_path: Path) -> None:
    """The search starts from what the user has, so that its best is never below it."""
    start = {"learning_rate": 1e-3, "lora.r": 16, "warmup_ratio": 0.1, "lora.targets": '["q_proj", "v_proj"]'}
    study = open_study(tmp_path, start=start)
    work_off(study, quick, StopRequest())
    first = study.study.trials[0]
    assert first.user_attrs["parameters"] == start | {"lora.targets": ["q_proj", "v_proj"]}
    assert len(study.study.trials) == 6


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_killed_worker_loses_nothing(tmp_path: Path, kind: signal.Signals) -> None:
    """Its trial goes on under another worker with the same number and parameters, and is counted once."""
    whole = open_study(tmp_path / "whole")
    work_off(whole, quick, StopRequest())
    study = open_study(tmp_path / "killed")
    process = start_worker(tmp_path / "killed", "worker0", 6, 0.3)
    wait_for(lambda: len(counted_trials(study.study)) >= 2 and any(t.last_step for t in running(study)))
    process.send_signal(kind)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(running(study)) == 1, "the trial of the killed worker must not be counted"
    work_off(open_study(tmp_path / "killed", "worker1"), quick, StopRequest())
    assert sequence(study) == sequence(whole)
    assert [trial.number for trial in study.study.trials] == list(range(6))


def test_worker_killed_while_it_draws_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial with some of its parameters drawn gets the same others from the next worker."""
    whole = open_study(tmp_path / "whole", trials=7)
    work_off(whole, quick, StopRequest())
    study = open_study(tmp_path / "killed", trials=7)
    drawn = []

    def die(dimension: Dimension, trial: optuna.Trial) -> Any:
        drawn.append(dimension.key)
        if len(drawn) == 6 * len(SPACE) + 2:
            raise KeyboardInterrupt
        return suggest(dimension, trial)

    suggest = Dimension.suggest
    monkeypatch.setattr(Dimension, "suggest", die)
    with pytest.raises(KeyboardInterrupt):
        work_off(study, quick, StopRequest())
    assert len(running(study)[0].params) == 1
    del study  # with its locks, as a process would
    gc.collect()
    again = open_study(tmp_path / "killed", trials=7)
    work_off(again, quick, StopRequest())
    assert sequence(again) == sequence(whole)


def test_stopping_on_request_is_no_error(tmp_path: Path) -> None:
    """Ctrl-C is not reported as an unexpected error."""
    with pytest.raises(SystemExit), stage(tmp_path / "log"):
        request = StopRequest()
        request(signal.SIGINT, None)
        work_off(open_study(tmp_path), quick, request)
    assert "error" not in (tmp_path / "log").read_text(encoding="utf-8")


def running(study: SharedStudy) -> list[optuna.trial.FrozenTrial]:
    """The trials that are running by what the file says."""
    return study.study.get_trials(states=(TrialState.RUNNING,))


def test_trial_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    """Settings that bring the machine down do not stop the search for ever, and do not count."""
    study = open_study(tmp_path)
    for _ in range(MOST_TRIES):
        claim = study.claim()
        assert claim is not None and claim.trial.number == 0
        study.leave(claim, in_order=False)
    work_off(study, quick, StopRequest())
    assert study.study.trials[0].state is TrialState.FAIL
    assert [number for number, *_ in sequence(study)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_workers_share_the_trials(tmp_path: Path) -> None:
    """Three workers at once, one of them killed: every trial once, none twice, and no more than asked for."""
    processes = [start_worker(tmp_path, f"worker{i}", 9, 0.1) for i in range(3)]
    study = open_study(tmp_path, trials=9)
    wait_for(lambda: len(counted_trials(study.study)) >= 3)
    processes[0].kill()
    for process in processes:
        process.communicate(timeout=120)
    work_off(open_study(tmp_path, "worker3", trials=9), quick, StopRequest())
    assert len(counted_trials(study.study)) == 9
    assert [trial.number for trial in study.study.trials] == list(range(9))
    assert len({trial.user_attrs["worker"] for trial in counted_trials(study.study)}) >= 2
    assert processes[1].returncode == processes[2].returncode == 0


def test_living_workers_keep_their_trials(tmp_path: Path) -> None:
    """A worker that is merely slow is not mistaken for a dead one."""
    first, second = open_study(tmp_path, trials=2), open_study(tmp_path, "worker1", trials=2)
    one, other = first.claim(), second.claim()
    assert one is not None and other is not None
    assert {one.trial.number, other.trial.number} == {0, 1}
    assert second.claim() is None
    first.finish(one, 0.5)
    assert first.claim() is None


@pytest.mark.parametrize("local", [True, False])
def test_a_second_machine_needs_locks_that_reach_it(tmp_path: Path, local: bool) -> None:
    """Where they do not, both would take the other's living trials for abandoned ones; where they do, all is well."""
    study = open_study(tmp_path)
    study.locks_are_local = local
    study.study.set_user_attr("session node17 4711 1", [time.time(), time.time() + 1])
    if local:
        with pytest.raises(UserError, match="node17 works on this search too, .*local_lock=none"):
            study.claim()
    else:
        assert study.claim() is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFinite("row 'x': the loss is not a finite number"), "not finite"),
        (OutOfMemory("too large"), "out of memory"),
    ],
)
def test_hopeless_settings_are_pruned_with_the_reason(tmp_path: Path, error: UserError, reason: str) -> None:
    """A learning rate that diverges ends its trial, not the search, and the study says why."""

    def objective(parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[list[float]]:
        if parameters["learning_rate"] > 1e-3:
            raise error
        return quick(parameters, folder, report, stop)

    study = open_study(tmp_path, trials=8)
    work_off(study, objective, StopRequest())
    pruned = [trial for trial in study.study.trials if trial.state is TrialState.PRUNED]
    assert pruned and all(trial.params["learning_rate"] > 1e-3 for trial in pruned)
    assert {trial.user_attrs["reason"] for trial in pruned} == {f"{reason}: {error}"}
    assert len(study.study.trials) == 8


def test_the_median_pruner_ends_poor_trials_early(tmp_path: Path) -> None:
    """Validation accuracies decide, and a pruned trial is never the best."""
    study = open_study(tmp_path, trials=14, pruner="median")
    work_off(study, quick, StopRequest())
    pruned = [trial for trial in study.study.trials if trial.state is TrialState.PRUNED]
    assert pruned and all(trial.last_step == step_of(0, 2 / 3) for trial in pruned), (
        "the first validation is too early to judge"
    )
    assert all(trial.user_attrs["reason"].startswith("pruner: accuracy") for trial in pruned)
    assert max(accuracy(trial.params) for trial in pruned) < study.study.best_value


def test_other_errors_end_the_worker_and_keep_the_trial(tmp_path: Path) -> None:
    """A missing image is not the fault of parameters: the message reaches the user, and its trial continues later."""

    def broken(*_: Any) -> list[float]:
        raise UserError("row 'x': the image is missing.")

    study = open_study(tmp_path)
    with pytest.raises(UserError, match="missing"):
        work_off(study, broken, StopRequest())
    work_off(open_study(tmp_path), quick, StopRequest())
    assert [number for number, *_ in sequence(study)] == list(range(6))


def test_time_budget_ends_the_search_and_raising_it_goes_on(tmp_path: Path) -> None:
    """The trial in progress is left in order, not counted, and finished under the larger budget."""
    began = time.monotonic()
    work_off(open_study(tmp_path, max_minutes=2 / 60), slow(0.3), StopRequest())
    assert 1.9 < time.monotonic() - began < 4
    study = open_study(tmp_path, "worker1", max_minutes=2 / 60)
    done = len(counted_trials(study.study))
    assert 0 < done < 6
    work_off(study, pytest.fail, StopRequest())
    work_off(open_study(tmp_path, max_minutes=1), quick, StopRequest())
    assert [number for number, *_ in sequence(study)] == list(range(6))
    assert {trial.user_attrs["tries"] for trial in study.study.trials} == {1}


def test_another_search_leaves_the_first_one_alone(tmp_path: Path) -> None:
    """Changing the seed and going back finds the first search finished, in the same file."""
    first = open_study(tmp_path)
    work_off(first, quick, StopRequest())
    before = sequence(first)
    work_off(open_study(tmp_path, seed=5), quick, StopRequest())
    work_off(open_study(tmp_path), pytest.fail, StopRequest())
    assert sequence(first) == before
    assert len(optuna.get_all_study_names(storage(first.folder / FILE))) == 2


def test_lowering_the_trials_takes_up_no_abandoned_one(tmp_path: Path) -> None:
    """Enough are finished: nobody trains what will not be looked at."""
    study = open_study(tmp_path, trials=6)
    work_off(open_study(tmp_path, trials=3), quick, StopRequest())
    claim = study.claim()
    assert claim is not None
    study.leave(claim, in_order=False)
    assert open_study(tmp_path, trials=3).claim() is None


def test_overlapping_sessions_count_once() -> None:
    """The budget is wall time: two workers at once do not halve it, and pauses are free."""
    assert covered([[0, 10], [5, 12], [6, 7], [20, 21]]) == 13
    assert covered([]) == 0


def test_finished_here_tells_workers_apart(tmp_path: Path) -> None:
    """What a worker's file says does not depend on the other workers."""
    study = open_study(tmp_path, trials=2)
    work_off(study, quick, StopRequest())
    other = open_study(tmp_path, "worker1", trials=4)
    work_off(other, quick, StopRequest())
    assert (study.finished_here(), other.finished_here()) == ([0, 1], [2, 3])
    assert json.dumps(study.finished_here())
