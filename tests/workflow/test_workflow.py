"""The whole workflow, run for real on a few rows: what a user does after a first run, and what stops it."""

import csv
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from places import takes_minutes
from workflow_world import (
    ROOT,
    artifacts,
    copy_small_workflow,
    copy_workflow,
    finished_workflow,
    plan_of,
    prepare_make,
    snakemake,
)

pytestmark = pytest.mark.slow
FROM_STORE = "taken from the store"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_workflow(tmp_path_factory.getbasetemp())


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished workflow to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "workflow"))


def ran(folder: Path, *arguments: str) -> str:
    """What a run that must succeed has printed."""
    done = snakemake(folder, "--cores", "1", *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


def logs_of(folder: Path, rule: str) -> list[str]:
    """The logs of a rule's jobs that were written since `forget_logs`."""
    return [path.read_text(encoding="utf-8") for path in sorted((folder / "results/logs").glob(f"{rule}/*.log"))]


def forget_logs(folder: Path) -> None:
    shutil.rmtree(folder / "results/logs")


def test_a_run_ends_with_what_it_reached(finished):
    """The result with its interval stands in one line near the end, and every promised artifact is there."""
    told = (finished / "printed").read_text(encoding="utf-8").strip().splitlines()[-5:]
    wanted = re.compile(
        r"vqaflow: OOF accuracy 0\.\d+ \(95 % interval .* n = 60\); expected on \d+ new rows [01]\.\d+ \(.*\); "
        r"demo held-out accuracy .* n = 40\); submission: results/submission.csv"
    )
    assert [line for line in told if wanted.fullmatch(line)], told
    for name in ("evaluation/mistakes.html", "eda/summary.json", "submission.validated.json", "tables/problems.csv"):
        assert (finished / "results" / name).is_file()
    assert len((finished / "results/submission.csv").read_text().splitlines()) == 41


def test_a_run_says_how_long_it_still_takes(finished):
    """After each job, once, on Snakemake's own line: a user decides by it whether to wait."""
    told = re.findall(
        r"^(\d+) of 18 steps \(\d+%\) done in \d.*", (finished / "printed").read_text("utf-8"), re.MULTILINE
    )
    assert told == [str(count) for count in range(1, 19)]
    lines = [line for line in (finished / "printed").read_text("utf-8").splitlines() if " of 18 steps" in line]
    assert len(lines) == 18 and "left" not in lines[-1]
    after = next(i for i, line in enumerate(lines) if re.search(r", (about \d.*|less than a minute) left$", line))
    assert all(line.endswith(" left") for line in lines[after:-1])
    assert not (finished / "results" / "logs" / "hours_left.txt").exists()


def test_a_second_run_has_nothing_to_do(again):
    assert "Nothing to be done" in ran(again)


def test_equal_bytes_from_upstream_train_and_score_nothing(finished, again):
    """The folds are made again and are the same: what follows runs, and finds its results in seconds."""
    forget_logs(again)
    ran(again, "--forcerun", "make_folds")
    jobs = logs_of(again, "train_adapter") + logs_of(again, "score_choices")
    assert len(jobs) == 6
    assert all(FROM_STORE in job for job in jobs)
    assert artifacts(again) == artifacts(finished)


def test_going_back_computes_nothing_twice(finished, again):
    """Another learning rate for one fold, and back to the first."""
    (again / "bolder.yaml").write_text("train: {learning_rate: 0.004}\n")
    fold = "results/adapters/main/fold0/adapter_model.safetensors"
    ran(again, fold, "--configfile", "bolder.yaml")
    assert FROM_STORE not in logs_of(again, "train_adapter")[0]
    assert (
        artifacts(again)["adapters/main/fold0/adapter_model.safetensors"]
        != artifacts(finished)["adapters/main/fold0/adapter_model.safetensors"]
    )
    forget_logs(again)
    ran(again)
    jobs = logs_of(again, "train_adapter") + logs_of(again, "score_choices")
    assert len(jobs) == 3  # the fold and its scores of both splits
    assert all(FROM_STORE in job for job in jobs)
    assert artifacts(again) == artifacts(finished)


def test_a_lying_store_costs_time_only(finished, again):
    """Every stored artifact is damaged, and one file of the results is gone."""
    for file in (again / "results/store").rglob("artifact*"):
        for path in [file] if file.is_file() else file.rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:-1])
    forget_logs(again)
    scores = "results/scores/main/test/fold1/original.parquet"
    (again / scores).unlink()
    ran(again, scores)
    assert FROM_STORE not in logs_of(again, "score_choices")[0]
    assert artifacts(again) == artifacts(finished)


def test_the_report_holds_the_figures(again):
    """`--report` after a run: one page with what the rules have made for it."""
    ran(again, "--report", "results/report.html")
    page = (again / "results/report.html").read_text(encoding="utf-8")
    for category in ("Data", "Training", "Evaluation"):
        assert category in page


# Bad input: how to spoil the tables, and what the message must name. Line 4 of train.csv is its third row.
def spoil(change: Callable[[dict[str, str], dict[str, str]], None]) -> Callable[[Path], None]:
    """Change the third row of train.csv, given the first one too."""

    def apply(folder: Path) -> None:
        table = folder / "results/demo/train.csv"
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        change(rows[2], rows[0])
        with (folder / "spoilt.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)

    return apply


SPOILT = {
    "an image that is not there": (spoil(lambda row, _: row.update(path="train/nowhere.png")), "train/nowhere.png"),
    "an id twice": (spoil(lambda row, first: row.update(id=first["id"])), "id"),
    "an answer that is no letter": (spoil(lambda row, _: row.update(answer="e")), "answer"),
}


def last_words(printed: str) -> str:
    """The message that a run ends with; Snakemake adds where its log is and how long it took."""
    return re.split(r"\n+(?:Complete log|Elapsed|WorkflowError)", printed[printed.rindex("\nerror: ") + 1 :])[
        0
    ].rstrip()


@pytest.mark.parametrize("fault", SPOILT)
def test_a_bad_row_stops_before_any_training(again, fault):
    """One message, the last that is printed, with the file, the row and what to do."""
    spoiling, names = SPOILT[fault]
    spoiling(again)
    (again / "mine.yaml").write_text("{data: {train_csv: spoilt.csv}, model: {allow_demo_base: true}}\n")
    forget_logs(again)
    before = artifacts(again)
    done = snakemake(again, "--cores", "1", "--configfile", "mine.yaml")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    message = last_words(done.stdout)
    assert "spoilt.csv" in message and names in message and re.search(r"\b[34]\b", message), message
    assert len(message.splitlines()) <= 4, message
    assert logs_of(again, "train_adapter") == []
    assert artifacts(again) == before, "what was there before is gone"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": {"train_csv": "nowhere.csv"}, "model": {"allow_demo_base": True}}, ["data.train_csv", "nowhere.csv"]),
        ({"train": {"learning_rat": 0.1}}, ["train.learning_rat", "learning_rate"]),
        ({"model": {"max_pixels": "many"}}, ["model.max_pixels", "many"]),
        ({"data": {"image_root": "nowhere"}}, ["data.image_root", "nowhere"]),
        ({"data": {"train_csv": "config.yaml"}}, ["model.base", "knows only the demo's images", "allow_demo_base"]),
    ],
)
def test_a_bad_setting_stops_before_anything(again, settings, words):
    (again / "mine.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(again, "-n", "--configfile", "mine.yaml")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert all(word in last_words(done.stdout) for word in words), done.stdout
    assert len(last_words(done.stdout).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--configfile", "mine.yaml", "--configfile", "mine.yaml"], "--configfile is given twice"),
        (["--profile", "profiles/gpu", "--config", "orders=all"], "profile profiles/gpu, whose settings are lost"),
        (["--configfile", "mine.yaml", "results/eda/summary.json"], "was read as a file of settings"),
        (["--sdm", "apptainer"], "VQAFLOW_IMAGE names no image"),
        (["--config", "train={epochs: 3}"], "'3' is not a number. Write it without quotation marks, and in a file"),
    ],
)
def test_a_command_line_that_loses_settings_stops(again, options, words):
    """Snakemake goes on without them, and says nothing."""
    (again / "mine.yaml").write_text("orders: all\n")
    done = snakemake(again, "-n", *options)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert words in last_words(done.stdout) and len(last_words(done.stdout).splitlines()) == 1, done.stdout


def test_the_workflow_runs_in_another_folder_and_leaves_its_own_alone(tmp_path):
    """One checkout for many runs, which may be read-only: its settings, base and profiles are found beside it."""
    checkout, run = copy_workflow(tmp_path / "checkout"), tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("data: {demo: {train_rows: 30, test_rows: 6}}\n")
    before = files_of(checkout)
    done = snakemake(run, "-s", str(checkout / "Snakefile"), "--cores", "1", "results/folds.parquet")
    assert done.returncode == 0, done.stdout
    assert len((run / "results/demo/train.csv").read_text().splitlines()) == 31, "the folder's own settings count"
    assert files_of(checkout) == before
    gpu = ["--profile", str(checkout / "profiles/gpu")]
    planned = snakemake(tmp_path, "-n", "-s", str(checkout / "Snakefile"), "--directory", str(run), *gpu)
    assert planned.returncode == 0 and plan_of(planned.stdout).jobs["train_adapter"] > 0, planned.stdout


MODULE = """
config = {{"mine": {{"data": {{"demo": {{"train_rows": 30}}}}, "orders": "all"}}}}
module vqa:
    snakefile: "{checkout}/Snakefile"
    config: config["mine"]
use rule * from vqa as vqa_*
rule last:
    default_target: True
    input: "results/submission.validated.json"
"""


def test_the_workflow_is_a_module_of_another_one(tmp_path):
    """`workflow.basedir` is then the other one's folder, and its settings need not hold every key."""
    (tmp_path / "Snakefile").write_text(MODULE.format(checkout=ROOT))
    done = snakemake(tmp_path, "-n")
    assert done.returncode == 0 and "Traceback" not in done.stdout, done.stdout
    jobs = plan_of(done.stdout).jobs
    assert jobs["vqa_train_adapter"] > 0 and jobs["last"] == 1


def test_a_submission_that_was_edited_by_hand_is_not_validated(again):
    """The report would give it the accuracy of other answers."""
    path = again / "results/submission.csv"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace(lines[1].strip()[-1], "a" if lines[1].strip()[-1] != "a" else "b")
    path.write_text("".join(lines))
    done = snakemake(again, "--cores", "1")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "have other answers than results/ensemble/test.parquet" in last_words(done.stdout), done.stdout
    assert not (again / "results/submission.validated.json").exists()


def files_of(folder: Path) -> set[str]:
    """The files in a folder, without what Python caches."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def begin_demo(folder: Path) -> subprocess.Popen:
    """`make demo` in a process group of its own, as a terminal or a scheduler starts it."""
    with (folder / "printed").open("a") as out:
        return subprocess.Popen(["make", "demo"], cwd=folder, stdout=out, stderr=out, start_new_session=True)


def interrupt(folder: Path, sign: str, death: signal.Signals) -> None:
    """Start `make demo`, send the signal to all of it when the file `sign` is there, and wait for its end."""
    run = begin_demo(folder)
    end = time.monotonic() + 900
    while not list(folder.glob(sign)):
        assert run.poll() is None and time.monotonic() < end, (folder / "printed").read_text()
        time.sleep(0.02)
    os.killpg(run.pid, death)
    assert run.wait(timeout=300) != 0
    while subprocess.run(["pgrep", "-s", str(run.pid)], capture_output=True).stdout:  # jobs may outlive make
        time.sleep(0.1)


@takes_minutes
def test_an_interrupted_demo_ends_with_the_same_bytes(finished, tmp_path):
    """Ctrl-C, a scheduler's SIGTERM and crashes, in tables, training, scoring and pooling; then on to the end."""
    folder = copy_small_workflow(tmp_path / "workflow")
    prepare_make(folder)
    interrupt(folder, "results/logs/validate_tables.log", signal.SIGKILL)
    interrupt(folder, "results/work/train/main/fold*/checkpoint*", signal.SIGTERM)
    interrupt(folder, "results/work/scores/*/*/*/*/*", signal.SIGKILL)
    interrupt(folder, "results/logs/ensemble_probabilities.log", signal.SIGINT)
    last = begin_demo(folder)
    assert last.wait(timeout=1800) == 0, (folder / "printed").read_text()
    assert artifacts(folder) == artifacts(finished)
    assert plan_of(snakemake(folder, "-n").stdout).jobs == {}
