"""Keeping runs: nothing that a later run does reaches a kept one, and only finished runs are kept."""

import errno
import json
import os
import shutil

import pandas as pd
import pytest

from results_world import make_whole_run
from runs_world import damaged, finish, make_run, write
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.evaluation.runs import kept
from vqaflow.evaluation.runs.kept import drop, find_run, keep, kept_runs, own_bytes
from vqaflow.evaluation.verify.verify import verify
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import MANIFEST, atomic_path, write_text


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made") / "results", train_rows=60, test_rows=20)


@pytest.fixture
def results(made, tmp_path):
    """A copy of a finished run to change."""
    return ResultsFolder(shutil.copytree(made, tmp_path / "results"))


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_kept_run_has_what_made_it_and_what_it_made(results):
    keep(results, "first")
    names = set(files_of(results.folder / "runs" / "first"))
    assert {"ensemble/oof.parquet", "tables/train.parquet", "folds.parquet", "submission.csv"} <= names
    assert {"members/main/member.json", "evaluation/metrics.json", "logs/train_adapter/main.fold0.log"} <= names
    assert {"adapters/main/fold0/adapter_model.safetensors", "scores/main/test/fold0/original.parquet"} <= names
    assert not [name for name in names if name.startswith(("store", "work", "base/", "runs", "images"))]
    (run,) = kept_runs(results)
    assert set(run.manifest["files"]) == names - {MANIFEST} and damaged(run) == []
    assert run.manifest["settings"]["members.main.train.learning_rate"] == 0.002
    assert run.manifest["line"].startswith("OOF ") and run.manifest["summary"]["minutes"] == 3.0


def test_large_files_are_links_and_changeable_ones_are_copies(results):
    """Adapters of 20 GB are not copied; a log that grows, or a table that is edited, must not change a kept run."""
    keep(results, "first")
    folder = results.folder / "runs" / "first"
    linked = {name for name in files_of(folder) if os.stat(folder / name).st_nlink > 1}
    assert {"adapters/main/fold0/adapter_model.safetensors", "ensemble/oof.parquet"} <= linked
    assert not {name for name in linked if name.endswith((".log", ".tsv", ".csv", ".json"))}
    assert "tracking/main/fold0/events.1" not in linked
    assert own_bytes(folder) < sum(map(len, files_of(folder).values()))


def test_a_later_run_leaves_the_kept_one_as_it_was(results, tmp_path):
    """Every artifact is made again by the real stages, logs grow, and files are edited in place."""
    keep(results, "first")
    folder = results.folder / "runs" / "first"
    before = files_of(folder)
    other = make_run(tmp_path / "other", train_rows=60, test_rows=20, seed=5, strength={"original": 0.5})
    for source in other.rglob("*.parquet"):  # as rules write: beside it, then renamed
        with atomic_path(results.folder / source.relative_to(other)) as partial:
            shutil.copyfile(source, partial)
    finish(results.folder)
    for name in ("logs/train_adapter/main.fold0.log", "tracking/main/fold0/events.1", "submission.csv"):
        with (results.folder / name).open("a", encoding="utf-8") as file:
            file.write("more\n")
    write(results.folder / "benchmarks/train_adapter/main.fold0.tsv", "s\n1.0\n")
    shutil.rmtree(results.folder / "adapters")
    assert (
        files_of(folder) == before
        and files_of(results.folder)["ensemble/oof.parquet"] != before["ensemble/oof.parquet"]
    )
    assert damaged(kept_runs(results)[0]) == []


def test_a_kept_run_passes_verify_as_the_run_itself_does(tmp_path):
    """With every artifact that the real stages make: what verify misses, or a later version needs, would show here."""
    (tmp_path / "results").mkdir()
    results = ResultsFolder(make_whole_run(tmp_path / "results", train_rows=60, test_rows=20))
    keep(results, "first")
    states = [
        {(name, state) for name, state, _ in verify(folder)} for folder in (results.folder, find_run(results, "first"))
    ]
    assert states[0] == states[1]


def test_another_disk_is_copied_to(results, monkeypatch):
    """results/runs may be a mount; without links it is still a kept run."""

    def refuse(*_, **__):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    keep(results, "first")
    folder = results.folder / "runs" / "first"
    assert files_of(folder)["ensemble/oof.parquet"] == (results.folder / "ensemble/oof.parquet").read_bytes()
    assert own_bytes(folder) == sum(map(len, files_of(folder).values()))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda at: at.validated.unlink(), "so the run is not finished. Run snakemake first."),
        (
            lambda at: write_text(at.submission, "id,answer\n"),
            "is not the file that submission.validated.json speaks of",
        ),
        (lambda at: at.submission.unlink(), "is not the file that"),
        (lambda at: write_text(at.metrics, '{"overall": {"right": 1, "n": 60}}'), "metrics.json: is not of"),
        (lambda at: at.metrics.unlink(), "metrics.json: is missing. Run the rule evaluate_oof."),
        (lambda at: at.probabilities("oof").unlink(), "oof.parquet: is missing"),
        (lambda at: turn(at.probabilities("test")), "submission.csv: has other answers than"),
        (lambda at: write_text(at.validated, "{"), "is damaged"),
    ],
)
def test_only_a_finished_and_consistent_run_is_kept(results, harm, message):
    """A run that is half old and half new would be compared as if it were one."""
    harm(results)
    with pytest.raises(UserError, match=message):
        keep(results, "first")
    assert not (results.folder / "runs" / "first").exists() and kept_runs(results) == []


def turn(path):
    frame = pd.read_parquet(path)
    frame[["p_a", "p_b", "p_c", "p_d"]] = frame[["p_b", "p_a", "p_c", "p_d"]].to_numpy()
    frame.iloc[:5, frame.columns.get_loc("p_d")] = 0.99
    frame.to_parquet(path)


def test_a_damaged_file_is_named_where_it_lies(results, monkeypatch):
    """The copy's name says nothing to the user: it is gone when the message is read."""
    monkeypatch.setattr(kept, "summary_of", lambda folder: kept.read_table(folder / "tables" / "absent.parquet", "x"))
    with pytest.raises(UserError, match=f"^{results.folder}/tables/absent.parquet: "):
        keep(results, "first")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a b", "current", "keep", "drop", "x" * 65, "a\n"]
)
def test_odd_names_are_refused(results, name):
    """A name is a folder's name and a word of the command."""
    with pytest.raises(UserError, match="cannot be a name. Use letters"):
        keep(results, name)
    assert not (results.folder / "runs").exists()


@pytest.mark.parametrize("name", ["lr-0.5", "첫번째", "Qwen3.5+untuned_v2"])
def test_ordinary_names_serve(results, name):
    keep(results, name)
    assert [run.name for run in kept_runs(results)] == [name]


def test_a_name_is_not_taken_twice_unless_asked(results):
    keep(results, "first")
    before = files_of(results.folder / "runs" / "first")
    with pytest.raises(
        UserError, match="exists. Choose another name, `vqaflow runs drop first` first, or give --force."
    ):
        keep(results, "first")
    assert files_of(results.folder / "runs" / "first") == before
    write(results.folder / "logs" / "new.log", "x")
    keep(results, "first", replace=True)
    assert "logs/new.log" in files_of(results.folder / "runs" / "first")


def test_a_failure_leaves_no_half_run(results, monkeypatch):
    """The disk is full after some files: nothing stands under the name, and an older run of the name survives."""
    keep(results, "first")
    before = files_of(results.folder / "runs" / "first")
    count = iter(range(1000))

    def fill(source, target):
        if next(count) > 20:
            raise OSError(errno.ENOSPC, "full")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)

    monkeypatch.setattr(kept, "take", fill)
    for name in ("first", "second"):
        with pytest.raises(OSError):
            keep(results, name, replace=True)
    assert files_of(results.folder / "runs" / "first") == before
    assert [path.name for path in (results.folder / "runs").iterdir()] == ["first"]


def test_a_run_that_changes_while_it_is_kept_is_refused(results, monkeypatch):
    """Snakemake is still running: the submission was linked before it was replaced."""
    real = kept.take

    def late(source, target):
        real(source, target)
        if source == results.submission:
            write_text(target, "id,answer\n")

    monkeypatch.setattr(kept, "take", late)
    with pytest.raises(UserError, match="is not the file that"):
        keep(results, "first")
    assert not (results.folder / "runs" / "first").exists()


def test_files_of_jobs_that_still_write_are_left_out(results):
    write(results.folder / "evaluation" / ".metrics.json.abc12345.json", "{")
    keep(results, "first")
    assert not [name for name in files_of(results.folder / "runs" / "first") if ".abc12345" in name]


def test_drop_frees_what_only_this_run_has(results):
    keep(results, "first")
    shutil.rmtree(results.folder / "adapters")
    size = own_bytes(results.folder / "runs" / "first")
    weights = results.folder / "runs/first/adapters/main/fold0/adapter_model.safetensors"
    assert size > weights.stat().st_size
    assert drop(results, "first") == size
    assert list((results.folder / "runs").iterdir()) == [] and (results.folder / "ensemble/oof.parquet").is_file()


def test_drop_of_an_unknown_run_names_the_nearest(results):
    with pytest.raises(UserError, match="there are none; `vqaflow runs keep NAME` keeps the current one"):
        drop(results, "first")
    keep(results, "first")
    write(results.folder / "runs" / "notes" / "mine.txt", "not a run")
    with pytest.raises(UserError, match="it has no run 'frist'; did you mean 'first'?"):
        drop(results, "frist")
    with pytest.raises(UserError, match="it has no run 'notes'"):
        drop(results, "notes")
    assert (results.folder / "runs" / "notes" / "mine.txt").is_file()


def test_manifest_without_a_summary_is_listed_as_damaged(results):
    from vqaflow.evaluation.runs.wording import listed

    keep(results, "first")
    write(results.folder / "runs" / "first" / MANIFEST, json.dumps({"kept": "x"}))
    assert any("damaged: its manifest has no summary" in line for line in listed(kept_runs(results)))
