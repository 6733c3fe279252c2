"""The check of bytes must not refuse what a user may do with a finished run."""

import shutil
from pathlib import Path

import pytest

from results_world import make_whole_run
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.verify.byte_checks import check_bytes
from vqaflow.evaluation.verify.results import Results
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.output_records import record_outputs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whole_run(tmp_path_factory.mktemp("made") / "results")


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    """A copy of a finished run to change."""
    return shutil.copytree(made, tmp_path / "results")


def checked(results: Path) -> str:
    return check_bytes(Results(ResultsFolder(results)))


def searched(results: Path, *names: str) -> None:
    """What a search of the member main leaves, with its record."""
    folder = results / "hpo" / "main"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("{}", encoding="utf-8")
    record_outputs(results / "logs" / "search" / "main.log", [folder / name for name in names])


def test_a_search_that_is_no_longer_asked_for_may_be_deleted(results: Path) -> None:
    """Its rule is no part of the workflow any more: running it again, the cure of a missing file, would do nothing."""
    searched(results, "best.yaml", "worker0.json")
    checked(results)
    (results / "hpo" / "main" / "worker0.json").unlink()
    with pytest.raises(UserError, match="worker0.json: is missing"):
        checked(results)
    shutil.rmtree(results / "hpo")
    checked(results)


def test_a_file_of_the_user_among_the_scores_is_left_alone(results: Path) -> None:
    """A note there ended in a traceback."""
    (results / "scores" / "main" / "notes.txt").write_text("good", encoding="utf-8")
    checked(results)
