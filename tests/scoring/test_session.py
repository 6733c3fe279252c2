"""A job that has loaded a base scores what others need from it, with the bytes that they would have made themselves."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rows
import scoring_world
from vqaflow.model import stored_base
from vqaflow.runtime.artifact_store import Store
from vqaflow.runtime.locks import Lease
from vqaflow.runtime.stage import RUN_STARTED
from vqaflow.scoring import others as module
from vqaflow.scoring import score_choices as stage_module
from vqaflow.scoring.others import chosen, note_scorings
from vqaflow.scoring.score_choices import Other, score_choices

VIEWS = {"original": {}, "hflip": {"flip": True}, "read": {"read": True, "read_tokens": 4}}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> scoring_world.ScoringWorld:
    """One base, adapter and table for the module."""
    return scoring_world.ScoringWorld(tmp_path_factory.mktemp("world"), 4)


@pytest.fixture
def loads(monkeypatch) -> list[int]:
    """One entry for each loading of a base."""
    seen: list[int] = []
    real = stored_base.open_base
    monkeypatch.setattr(stored_base, "open_base", lambda *given, **more: seen.append(1) or real(*given, **more))
    return seen


def job(world: scoring_world.ScoringWorld, folder: Path, view: str, **changes: Any) -> dict[str, Any]:
    """The arguments of a view's own job in a run whose files are in `folder`."""
    out, work = folder / f"{view}.parquet", folder / "work" / view
    places = {"out": out, "cost": out.with_suffix(".json"), "work": work, "vision": folder / "vision"}
    return world.arguments(name=view, view=VIEWS[view], store=Store(folder / "store", 1), **places, **changes)


def other(given: dict[str, Any]) -> Other:
    """A job, as others know it."""
    return Other(given["task"], given["rows"], given["places"].work)


@pytest.mark.parametrize("view", ["hflip", "read"])
def test_what_was_scored_ahead_is_what_its_own_job_makes(world, tmp_path, loads, view) -> None:
    """Twelve jobs of a run each loaded the same base for half a minute, to score for ten seconds."""
    mine, theirs = job(world, tmp_path, "original"), job(world, tmp_path, view)
    score_choices(**mine, others=[other(theirs)])
    assert len(loads) == 1 and mine["out"].exists() and not theirs["out"].exists()
    assert not theirs["places"].work.exists()
    score_choices(**theirs)
    assert len(loads) == 1, "its own job takes it from the store"
    alone = job(world, tmp_path / "alone", view)
    score_choices(**alone)
    assert len(loads) == 2 and theirs["out"].read_bytes() == alone["out"].read_bytes()
    assert json.loads(theirs["cost"].read_text())["rows"] == 4


def test_own_scores_are_the_same_after_others(world, tmp_path, loads) -> None:
    """A view that reads takes the adapter off for a while: what is scored next must have it again."""
    first, second = job(world, tmp_path, "read"), job(world, tmp_path, "hflip")
    score_choices(**first, others=[other(job(world, tmp_path, "original")), other(second)])
    for view in ("original", "hflip"):
        score_choices(**job(world, tmp_path, view))
        score_choices(**job(world, tmp_path / "alone", view))
        assert (tmp_path / f"{view}.parquet").read_bytes() == (tmp_path / "alone" / f"{view}.parquet").read_bytes()


def test_nothing_is_loaded_for_others_alone(world, tmp_path, loads) -> None:
    """A job whose own scores are in the store ends in a second; others load the base when their turn comes."""
    score_choices(**job(world, tmp_path, "original"))
    score_choices(**job(world, tmp_path, "original"), others=[other(job(world, tmp_path, "hflip"))])
    assert len(loads) == 1
    assert len(Store(tmp_path / "store", 1).entries()) == 1


def test_a_job_that_is_killed_ahead_leaves_its_shards(world, tmp_path, monkeypatch) -> None:
    """Hours of a GPU must not be lost, whoever has spent them."""
    mine, theirs = job(world, tmp_path, "original"), job(world, tmp_path, "hflip")
    monkeypatch.setattr(stage_module, "SHARD_ROWS", 2)
    real, shards = stage_module.write_parquet, []

    def dies(frame, path):
        if len(shards) == 3:  # two of its own, one ahead
            raise KeyboardInterrupt
        shards.append(1)
        return real(frame, path)

    monkeypatch.setattr(stage_module, "write_parquet", dies)
    with pytest.raises(KeyboardInterrupt):
        score_choices(**mine, others=[other(theirs)])
    assert mine["out"].exists(), "its own file was there before it began with others"
    kept = list(theirs["places"].work.glob("*.parquet"))
    assert len(kept) == 1
    monkeypatch.setattr(stage_module, "write_parquet", lambda frame, path: shards.append(2) or real(frame, path))
    score_choices(**theirs)
    assert shards.count(2) == 1, "only the shard that was not finished"


def test_what_fails_ahead_is_left_to_its_own_job(world, tmp_path, loads) -> None:
    """The error belongs to the job that it stops, not to one whose own file is there."""
    mine, theirs = job(world, tmp_path, "original"), job(world, tmp_path, "hflip")
    gone = replace(theirs["rows"], table=tmp_path / "gone.parquet")
    score_choices(**mine, others=[Other(theirs["task"], gone, theirs["places"].work), other(theirs)])
    assert mine["out"].exists() and len(Store(tmp_path / "store", 1).entries()) == 2


def test_two_jobs_never_score_the_same_at_once(world, tmp_path) -> None:
    """On two GPUs, each would score all views of the fold."""
    mine, theirs = job(world, tmp_path, "original"), job(world, tmp_path, "hflip")
    lease = Lease(theirs["places"].work.with_name(".hflip.lock"))
    lease.path.parent.mkdir(parents=True)
    assert lease.take()
    score_choices(**mine, others=[other(theirs)])
    assert len(Store(tmp_path / "store", 1).entries()) == 1
    lease.release()


def test_without_a_store_nothing_is_scored_ahead(world, tmp_path) -> None:
    """It could not be handed over."""
    mine, theirs = job(world, tmp_path, "original"), job(world, tmp_path, "hflip")
    score_choices(**mine | {"store": Store(tmp_path / "store", 0)}, others=[other(theirs)])
    assert not theirs["places"].work.exists()


def at(view: str, fold: str = "0") -> dict[str, str]:
    """A scoring by its wildcards."""
    return {"member": "main", "split": "oof", "fold": fold, "view": view}


def test_only_what_this_run_wants_is_chosen(tmp_path, monkeypatch) -> None:
    """Another run, another machine, or a target of one file: whoever asks for one view gets one."""
    note = tmp_path / "work" / "to_score.json"
    monkeypatch.setenv(RUN_STARTED, "1.0")
    known = [{"at": at(view)} for view in ("original", "hflip", "fine")]
    assert chosen(known, at("original"), note) == []
    note_scorings(note, [at("original"), at("hflip"), at("hflip", "1")])
    assert chosen(known, at("original"), note) == known[1:2]
    monkeypatch.setenv(RUN_STARTED, "2.0")
    assert chosen(known, at("original"), note) == [], "what a killed run left"
    monkeypatch.setenv(RUN_STARTED, "1.0")
    monkeypatch.setattr(module.socket, "gethostname", lambda: "another")
    assert chosen(known, at("original"), note) == []


def test_a_view_for_close_rows_waits_for_the_main_views_file(tmp_path) -> None:
    """The scores that decide which rows are close must be those of this run."""
    note = tmp_path / "to_score.json"
    close = {"at": at("fine"), "after": at("original")}
    note_scorings(note, [at("original"), at("fine"), at("hflip")])
    assert chosen([close], at("hflip"), note) == [] and chosen([close], at("original"), note) == [close]
    note_scorings(note, [at("fine"), at("hflip")])
    assert chosen([close], at("hflip"), note) == [close]


def test_scoring_does_not_import_peft() -> None:
    """It takes a quarter of the seconds that imports take, and brings bitsandbytes and PyTorch's compiler."""
    code = "import sys, vqaflow.model.pipeline.parts, vqaflow.scoring.scorer; print('peft' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(rows.ROOT / "workflow_scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "False", done.stderr
