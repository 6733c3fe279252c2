"""What comes out of a search: the best parameters and what they rest on, figures, and a study that dashboards open."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
import pytest
from optuna.trial import TrialState
from PIL import Image

from search_world import FIGURES, SAW, START, accuracy, choose, open_study, search
from vqaflow.reporting.statistics import wilson
from vqaflow.runtime.digests import file_digest
from vqaflow.runtime.errors import NotFinite, UserError
from vqaflow.search.search_hyperparameters import as_page, search_hyperparameters
from vqaflow.search.space import Report
from vqaflow.search.study import SharedStudy, storage
from vqaflow.training.checkpoints import StopRequest


def diverging(parameters: Mapping[str, Any], folder: Path, report: Report, stop: StopRequest) -> list[float]:
    """An objective whose every trial comes to nothing."""
    raise NotFinite("row 'x': the loss is not a finite number")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SharedStudy, dict[str, Any]]:
    """A search of nine trials from a known start, with what the stage made of it."""
    folder = tmp_path_factory.mktemp("searched")
    study = search(folder, start=START, trials=9, pruner="median")
    return folder, study, choose(folder, trials=9)


def test_best_yaml_holds_what_it_says_and_what_that_rests_on(searched: tuple) -> None:
    """Parameters as train takes them, the accuracy with its interval and n, what the search saw, the environment."""
    _, study, best = searched
    trial = study.study.best_trial
    assert best["parameters"] == trial.user_attrs["parameters"]
    assert isinstance(best["parameters"]["lora.targets"], list)
    right = round(accuracy(best["parameters"]) * 400)
    assert best["accuracy"] == {"value": right / 400, "right": right, "n": 400, "wilson": list(wilson(right, 400))}
    assert best["configuration_as_it_stands"]["right"] == round(accuracy(START) * 400)
    assert best["saw"] == {"subset": 0.5, "folds": SAW, "excluded_from": "nothing"}
    counts = best["study"]
    assert (counts["complete"] + counts["pruned"], counts["seed"], counts["name"]) == (9, 1, study.name)
    assert {"torch", "transformers", "peft", "python", "optuna", "device", "dtype"} <= set(best["environment"])


def test_equal_searches_give_equal_files(searched: tuple, tmp_path: Path) -> None:
    """Repeating a search changes no byte that anything depends on or that a report shows."""
    folder, _, _ = searched
    search(tmp_path, start=START, trials=9, pruner="median")
    choose(tmp_path, trials=9)
    for name in ["best.yaml", *[f"figures/{figure}.png" for figure in FIGURES]]:
        assert file_digest(folder / "out" / name) == file_digest(tmp_path / "out" / name), name


def test_figures_are_four_and_drawn(searched: tuple) -> None:
    """A report's page without its picture, or with an empty one, helps nobody."""
    folder, _, _ = searched
    assert {path.stem for path in (folder / "out" / "figures").glob("*.png")} == set(FIGURES)
    for name in FIGURES:
        with Image.open(folder / "out" / "figures" / f"{name}.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20, f"{name} is nearly empty"


def test_the_reports_page_says_what_best_yaml_says(searched: tuple) -> None:
    """Browsers open no YAML from within a report, so that the page is what people read."""
    folder, _, best = searched
    page = (folder / "out" / "figures" / "best.html").read_text(encoding="utf-8")
    for key, value in best["parameters"].items():
        assert f"<tr><td>{key}<td>" in page
        assert isinstance(value, str | list) or f"<td>{value:.4g}" in page
    assert "[" not in page.partition("</style>")[2] and "320" in page
    assert "not among the trials" in as_page(best | {"configuration_as_it_stands": None})
    assert "&lt;b&gt;" in as_page({"study": {"name": "<b>"}})


def test_fewer_trials_look_at_the_first_ones_only(searched: tuple, tmp_path: Path) -> None:
    """hpo.trials lowered gives what the shorter search would have given, without running anything."""
    folder, study, _ = searched
    first = choose(Path(shutil.copytree(folder, tmp_path / "copy")), "first", trials=3)
    assert first["study"]["complete"] == 3
    assert first["accuracy"]["value"] == max(trial.value for trial in study.study.trials[:3])


def test_the_copy_shows_no_trial_as_running(tmp_path: Path) -> None:
    """A worker that was killed, or is still at work, leaves no trial that the dashboard shows for ever as running."""
    study = search(tmp_path, trials=6)
    later = open_study(tmp_path, "worker1", trials=7)
    claim = later.claim()
    assert claim is not None
    choose(tmp_path)
    copied = optuna.load_study(study_name=study.name, storage=storage(tmp_path / "out" / "study.db"))
    assert copied.trials[6].state is TrialState.FAIL
    assert "not counted" in copied.trials[6].user_attrs["reason"]
    assert study.study.trials[6].state is TrialState.RUNNING, "the worker's own study must stay as it is"


def get(app: Any, path: str) -> tuple[str, bytes]:
    """What a WSGI application answers to GET."""
    status = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()}
    environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http", "QUERY_STRING": ""}
    body = b"".join(app(environ, lambda line, headers, *_: status.append(line)))
    return status[0], body


def test_optuna_dashboard_opens_the_study(searched: tuple) -> None:
    """The documented command shows the search with all of its trials."""
    folder, study, _ = searched
    app = optuna_dashboard.wsgi(f"sqlite:///{folder / 'out' / 'study.db'}")
    status, body = get(app, "/dashboard")
    assert status.startswith("200") and b"<html" in body.lower()
    listed = json.loads(get(app, "/api/studies")[1])["study_summaries"]
    assert [summary["study_name"] for summary in listed] == [study.name]
    detail = json.loads(get(app, f"/api/studies/{listed[0]['study_id']}")[1])
    assert len(detail["trials"]) == 9


def test_no_complete_trial_says_why_and_keeps_what_was_there(tmp_path: Path) -> None:
    """Every trial diverged: the message gives the reason and the cure, and nothing is written."""
    search(tmp_path, diverging)
    with pytest.raises(UserError, match=r"all 6 were pruned \(not finite: row 'x'.*Change hpo.space"):
        choose(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_budget_too_short_for_one_trial_says_so(tmp_path: Path) -> None:
    """The cure is more time, not another space."""
    search(tmp_path, trials=6, max_minutes=1e-9)
    with pytest.raises(UserError, match=r"the time budget was too short for one\..*raise hpo.max_minutes"):
        choose(tmp_path)


def test_workers_of_different_searches_are_refused(tmp_path: Path) -> None:
    """By hand it is easy to forget one of them after a change."""
    search(tmp_path)
    other = tmp_path / "worker1.json"
    other.write_text(json.dumps({"study": "search-other", "trials": []}), encoding="utf-8")
    with pytest.raises(UserError, match="different searches.*Run all of them again"):
        search_hyperparameters(
            workers=[tmp_path / "worker0.json", other],
            work=tmp_path,
            trials=6,
            best_out=tmp_path / "best.yaml",
            study_out=tmp_path / "copy.db",
            figures_out=tmp_path / "figures",
        )


@pytest.mark.parametrize("trials", [1, 2])
def test_short_searches_can_be_drawn(tmp_path: Path, trials: int) -> None:
    """One trial has no importance and no range of colours; that must not fail."""
    search(tmp_path, trials=trials)
    assert choose(tmp_path, trials=trials)["study"]["complete"] == trials
