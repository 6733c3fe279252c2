"""The notebooks' own cells, run on the demo in fresh folders: sessions that end, machines that are lost."""

import base64
import re
import shutil
import signal
from pathlib import Path

import pytest

from notebook_world import PATIENCE, NotebookWorld
from places import takes_minutes
from vqaflow.runtime.session.kept import is_kept, read_kept

CHECKPOINT = "results/work/train/main/fold*/checkpoint.pt"
FIRST_RULES = {"prepare_demo", "validate_tables", "make_folds"}


def jobs_to_run(printed: str) -> dict[str, int]:
    """How many jobs of each rule Snakemake says that it will run."""
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\ntotal ", printed, re.DOTALL)
    return {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}


@takes_minutes
@pytest.mark.slow
def test_kaggle_stops_and_goes_on(tmp_path):
    """The second session has another machine and only the first one's output, with new times, as Kaggle gives it."""
    world = NotebookWorld(tmp_path, "kaggle", "profiles/kaggle-t4x2")
    first, output = world.begin("first", tmp_path / "output1"), tmp_path / "output1"
    world.wait_for(lambda: list((tmp_path / "first/workflow").glob(CHECKPOINT)), first, "first")
    first.send_signal(signal.SIGINT)  # the stop button; the hours' end does the same
    assert first.wait(timeout=PATIENCE) == 0, world.printed("first")
    assert "Stopped in time" in world.printed("first"), world.printed("first")
    assert not (output / "submission.csv").exists()
    assert not list((tmp_path / "first/workflow/.snakemake").glob("locks/*"))

    shutil.copytree(output, tmp_path / "input/vqaflow-demo", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "first")
    second = world.begin("second", tmp_path / "output2")
    assert second.wait(timeout=PATIENCE) == 0, world.printed("second")
    printed = world.printed("second")
    assert len((tmp_path / "output2/submission.csv").read_text().splitlines()) == 13
    assert "resuming from step" in printed, "the training of the first session was lost"
    jobs = jobs_to_run(printed)
    assert "train_adapter" in jobs and not FIRST_RULES & jobs.keys(), jobs
    assert (tmp_path / "output2/my.yaml").read_text() == (tmp_path / "my.yaml").read_text()


def adapters_kept(folder: Path) -> int:
    """How many finished trainings a kept folder holds, by Snakemake's notes: base64 of the names of outputs."""
    if not is_kept(folder):
        return 0
    names = {of: set() for of in ("metadata", "incomplete")}
    for path in read_kept(folder).entries:
        top, of, *rest = path.split("/")
        if top == ".snakemake":
            names[of].add(base64.b64decode("".join(rest)).decode())
    done = names["metadata"] - names["incomplete"]
    return sum(re.fullmatch(r"results/adapters/main/fold\d/run.json", name) is not None for name in done)


@takes_minutes
@pytest.mark.slow
def test_a_colab_machine_is_lost_and_the_next_goes_on(tmp_path):
    """Colab may take a machine at any time, with its disk; only Drive is left."""
    world = NotebookWorld(tmp_path, "colab", "profiles/colab-l4")
    drive = world.input
    first = world.begin("first", drive, every=0.02)
    world.wait_for(lambda: adapters_kept(drive / "kept"), first, "first")
    world.lose("first")
    first.wait(timeout=60)
    done = adapters_kept(drive / "kept")

    second = world.begin("second", drive)
    assert second.wait(timeout=PATIENCE) == 0, world.printed("second")
    printed = world.printed("second")
    assert len((drive / "submission.csv").read_text().splitlines()) == 13
    jobs = jobs_to_run(printed)
    assert not FIRST_RULES & jobs.keys(), jobs
    assert jobs.get("train_adapter", 0) == 2 - done, "an adapter is trained twice"
