"""A run finds the plan's seconds of its jobs by their names: a name that differs would count as no plan."""

import json
import os
import subprocess
import sys

from places import ROOT, SCRIPTS
from vqaflow.config.loading import load_config


def test_every_training_and_scoring_of_the_demo_has_seconds():
    """Asked as a run asks: a process that reads the configuration, and whose answer is all that it prints."""
    config = load_config(ROOT / "config.yaml")
    command = [sys.executable, "-m", "vqaflow.plan.job_seconds", "results"]
    paths = {"PYTHONPATH": str(SCRIPTS), "CUDA_VISIBLE_DEVICES": ""}
    asked = subprocess.run(
        command, input=json.dumps(config), capture_output=True, text=True, cwd=ROOT, env=os.environ | paths, check=False
    )
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    folds, views = range(config["folds"]["n"]), ["original", "hflip"]
    names = {f"main {fold}" for fold in folds}
    names |= {f"main {fold} {split} {view}" for fold in folds for split in ("oof", "test") for view in views}
    assert set(found["seconds"]) == names and min(found["seconds"].values()) > 1
    assert (found["certain"], found["cards"]) == (False, 0)
