"""Members for real: two families, an untuned base and a model from outside, pooled on a CPU into a submission."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from places import ROOT
from vqaflow.runtime.digests import file_digest
from workflow_world import artifacts, finished_workflow, snakemake

MEMBERS = {
    "qwen3": {"model": {"base": "assets/tiny-qwen3-vl"}, "refit": True},
    "untuned": {"train": "none"},
    "text": {"probabilities": {"oof": "text_model/oof.csv", "test": "text_model/test.csv"}},
}
pytestmark = pytest.mark.slow


def ran(folder: Path, *command: str) -> str:
    """What a command prints that must succeed; the package and the programs are those of the workflow's copy."""
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow_scripts")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], str]:
    """A finished run of main to which three members are added: its folder, its digests before, what the run printed."""
    made = finished_workflow(tmp_path_factory.getbasetemp())
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("members") / "workflow"))
    before = artifacts(folder)
    ran(folder, sys.executable, str(ROOT / "docs" / "examples" / "text_model.py"))
    (folder / "members.yaml").write_text(yaml.safe_dump({"members": MEMBERS}), encoding="utf-8")
    done = snakemake(folder, "--cores", "1", "--configfile", "members.yaml")
    assert done.returncode == 0, done.stdout
    return folder, before, done.stdout


def test_new_members_leave_the_old_one_as_it_was(pooled):
    """Hours of its training would be lost."""
    folder, before, printed = pooled
    after = artifacts(folder)
    kept = [name for name in before if "/main/" in name]
    assert kept and all(after[name] == before[name] for name in kept)
    assert "Training the adapter of main" not in printed and "Scoring oof rows, main" not in printed


def test_every_member_is_pooled_and_shown(pooled):
    folder, _, printed = pooled
    metrics = json.loads((folder / "results/evaluation/metrics.json").read_text(encoding="utf-8"))
    names = ["main", "qwen3", "text", "untuned"]
    assert metrics["members"]["names"] == names
    assert "new rows" in printed
    for name in names:
        oof = pd.read_parquet(folder / "results/members" / name / "oof.parquet")
        assert len(oof) == 60 and oof.filter(like="p_").sum(axis=1).round(9).eq(1).all()
    for page in ("evaluation/members.png", "evaluation/picks.html", "submission.validated.json"):
        assert (folder / "results" / page).is_file()


def test_the_results_agree_with_each_other(pooled):
    folder, _, _ = pooled
    checks = ran(folder, sys.executable, "-m", "vqaflow", "verify", "results")
    assert checks.count("ok") >= 10 and "FAILED" not in checks and "skipped" not in checks


def test_a_second_run_has_nothing_to_do(pooled):
    folder, _, _ = pooled
    done = snakemake(folder, "-n", "--configfile", "members.yaml")
    assert "Nothing to be done" in done.stdout


def test_probabilities_go_out_and_come_back_as_a_member(pooled):
    """What a friend gets by `vqaflow export` is what their run reads."""
    folder, _, _ = pooled
    vqaflow = [sys.executable, "-m", "vqaflow"]
    ran(folder, *vqaflow, "export", "probabilities", "--member", "qwen3", "--out", "out/{split}.npz")
    entry = {"members": {"back": {"probabilities": {"oof": "out/oof.npz", "test": "out/test.npz"}}}}
    (folder / "back.yaml").write_text(yaml.safe_dump(entry), encoding="utf-8")
    ran(folder, *vqaflow, "pool_member", "--config", "members.yaml", "back.yaml", "--member", "back")
    for split in ("oof", "test"):
        one, other = (pd.read_parquet(folder / f"results/members/{m}/{split}.parquet") for m in ("qwen3", "back"))
        pd.testing.assert_frame_equal(one, other, check_exact=False, atol=1e-12)


def test_a_run_is_kept_and_compared_with_the_next(pooled):
    """Each run overwrites the last; the kept one must not change with it."""
    folder, _, _ = pooled
    vqaflow = [sys.executable, "-m", "vqaflow"]
    ran(folder, *vqaflow, "runs", "keep", "four")
    submission = folder / "results/runs/four/submission.csv"
    digest = file_digest(submission)
    done = snakemake(folder, "--cores", "1")
    assert done.returncode == 0, done.stdout
    assert "Training the adapter" not in done.stdout, "main alone was finished before"
    assert file_digest(submission) == digest and (folder / "results/runs.html").is_file()
    printed = ran(folder, *vqaflow, "runs", "current", "four")
    assert "four" in printed and "members" in printed
    assert "pick" in ran(folder, *vqaflow, "picks", "four").lower()
