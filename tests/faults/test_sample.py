"""A fixed sample of `make faults`: kills in a real run, damaged files, full and read-only disks."""

import random
import shutil
from pathlib import Path

import pytest
from tests.faults.damage import damage_runs
from tests.faults.disks import can_mount, disk_runs
from tests.faults.fault_world import compared
from tests.faults.kills import KilledRun, judged
from tests.faults.runs import disk_under_snakemake

from places import IS_LONG
from workflow_world import finished_workflow

pytestmark = pytest.mark.slow
SEED = 18
KILLS, DAMAGED = (6, 40) if IS_LONG else (3, 12)
MADE_AGAIN = ("adapters", "scores", "members", "ensemble", "evaluation", "answers", "submission.csv", "store", "work")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_workflow(tmp_path_factory.getbasetemp())


def wrong(outcomes) -> str:
    return "\n".join(str(outcome) for outcome in outcomes if not outcome.is_right)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(finished, tmp_path):
    """In trainings, scorings and what follows: a job, all processes, and Snakemake alone, whose job works on."""
    folder = Path(shutil.copytree(finished, tmp_path / "workflow", symlinks=True))
    for name in MADE_AGAIN:
        place = folder / "results" / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    run = KilledRun(folder, random.Random(SEED), KILLS)
    outcome = judged(folder, run.run(), run, compared(finished / "results"))
    assert outcome.is_right, outcome
    assert len(run.hits) == KILLS, "the run ended before it was killed often enough"


def test_damaged_files_end_in_one_message_or_the_same_results(finished, tmp_path):
    """A traceback says neither which file is damaged nor how to get it back."""
    outcomes = damage_runs(finished, tmp_path, SEED, DAMAGED, readers=5)
    assert len(outcomes) == DAMAGED and not wrong(outcomes), wrong(outcomes)


@pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")
def test_a_full_or_read_only_disk_is_one_message_and_then_the_same_bytes(finished, tmp_path):
    names = ["train_adapter", "score_choices, OOF", "evaluate_oof"]
    outcomes = disk_runs(finished, tmp_path, compared(finished / "results"), SEED, names)
    assert len(outcomes) == 3 * len(names) and not wrong(outcomes), wrong(outcomes)


@pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk")
def test_snakemake_on_a_full_or_read_only_disk_says_why(finished, tmp_path):
    """Of finished files on a read-only disk it only says that they are write-protected."""
    outcomes = disk_under_snakemake(finished, tmp_path, compared(finished / "results"))
    assert len(outcomes) == 3 and not wrong(outcomes), wrong(outcomes)
