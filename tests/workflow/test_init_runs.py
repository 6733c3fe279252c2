"""What `vqaflow init` writes is taken by Snakemake at once, and the first submission comes out of it."""

import contextlib
import csv
import shutil
from collections.abc import Iterator

import pytest

from given_folders import given, pictures_of, renamed, rows, sample, write
from vqaflow.commands.command_line import main
from workflow_world import WorkflowWorld, copy_workflow, plan_of, snakemake


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkflowWorld]:
    """The workflow before its first run."""
    made = WorkflowWorld(tmp_path_factory.mktemp("init") / "workflow", finished=False)
    yield made
    made.close()


def plain(folder):
    given(folder)


def korean(folder):
    """CP949, own names, five choices, labels 1 to 5, and a second table that five people answered."""
    names = {"id": "번호", "path": "파일명", "question": "질문", "answer": "정답"}
    names |= {letter: f"보기{number}" for number, letter in enumerate("abcde", start=1)}
    train, test, dev = (rows(split, choices="abcde") for split in ("train", "test", "dev"))
    train = [row | {"answer": "12345"[i % 5]} for i, row in enumerate(train)]
    dev = [row | {f"평가자{n}": "12345"[(i + n) % 5] for n in range(1, 6)} for i, row in enumerate(dev)]
    given(folder, train, test)
    pictures_of(dev, folder)
    for name, table in (("train", train), ("test", test), ("dev", dev)):
        write(folder / f"{name}.csv", renamed(table, names), encoding="cp949")
    write(folder / "sample_submission.csv", sample(test, "1"))


def two_folders_and_no_sample(folder):
    """Bare names in images/train and images/test, and no sample submission."""
    train, test = rows("train", answers="ABCD", path="{i}.png"), rows("test", path="{i}.png")
    given(folder / "unpacked", train, test, root="images/train", with_sample=False)
    pictures_of(test, folder / "unpacked" / "images" / "test")


@pytest.mark.parametrize("make", [plain, korean, two_folders_and_no_sample])
def test_a_dry_run_takes_the_file_as_it_is(world, make):
    name = make.__name__
    make(world.folder / name)
    with contextlib.chdir(world.folder):
        main(["init", name, "--output", f"{name}.yaml", "--card", "l4"])
    status, printed = world.ask("-n", "--configfile", f"{name}.yaml")
    assert status == 0, printed
    jobs = plan_of(printed).jobs
    assert jobs["train_adapter"] == 3 and jobs["pool_member"] == 2


@pytest.mark.slow
def test_the_first_submission_is_answered_from_the_right_images(tmp_path):
    """From init to a file that can be handed in, in two commands, with tables that need most of what init finds."""
    folder = copy_workflow(tmp_path / "workflow")
    two_folders_and_no_sample(folder / "data")
    with contextlib.chdir(folder):
        main(["init", "data", "--base", "assets/tiny-qwen2_5-vl"])
    done = snakemake(folder, "--configfile", "my.yaml", "--cores", "1", "--", "zero_shot")
    assert done.returncode == 0, done.stdout
    with (folder / "results" / "zero_shot" / "untuned.csv").open(encoding="utf-8", newline="") as file:
        header, *answers = csv.reader(file)
    assert header == ["id", "answer"] and len(answers) == 8
    assert {answer for _, answer in answers} <= set("ABCD"), "the sample shows no labels: those of training are written"
    assert "untuned.csv is valid and can be handed in" in done.stdout
    assert not (folder / "results" / "adapters").exists(), "nothing is trained for it"
    shutil.rmtree(folder)
