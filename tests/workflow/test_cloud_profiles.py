"""Profiles of clouds: each names every rule that needs a card, and plans where its plugins are installed."""

import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from empty_bucket import empty_bucket
from places import ROOT
from workflow_world import copy_workflow, plan_of

# By profile: its plugin, and the options that only its user knows.
NEEDED = {
    "awsbatch": (
        "snakemake_executor_plugin_aws_batch",
        *("--container-image", "vqaflow:0", "--aws-batch-region", "eu-central-1"),
        *("--aws-batch-job-queue", "arn:queue", "--aws-batch-job-role", "arn:role"),
    ),
    "googlebatch": (
        "snakemake_executor_plugin_googlebatch",
        *("--googlebatch-project", "mine", "--googlebatch-region", "us-central1"),
    ),
    "kubernetes": ("snakemake_executor_plugin_kubernetes", "--container-image", "vqaflow:0"),
}
STORAGE = "snakemake_storage_plugin_s3"
ON_CARDS = {
    name
    for file in (ROOT / "rules").glob("*.smk")
    for name, text in re.findall(r"^rule (\w+):(.*?)(?=^rule |\Z)", file.read_text(encoding="utf-8"), re.M | re.S)
    if re.search(r"^        gpu=", text, re.M)
}


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NEEDED)
def test_a_profile_gives_each_rule_on_a_card_one(name: str) -> None:
    """A rule that is left out would start on a machine without a card, and train for weeks."""
    told = profile(name)
    assert told["set-resources"].keys() == ON_CARDS
    card = {"awsbatch": "_gpus", "googlebatch": "nvidia_gpu", "kubernetes": "gpu_manufacturer"}[name]
    assert all(card in resources for resources in told["set-resources"].values())
    assert told["default-storage-provider"] == "s3" and told["shared-fs-usage"] == "none"
    (entry,) = told["config"]
    assert (ROOT / yaml.safe_load(entry.removeprefix("hardware="))["settings"]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDED)
def test_a_profile_plans_where_its_plugins_are(name: str, tmp_path: Path) -> None:
    """A dry run against an empty bucket: nothing is submitted."""
    plugin, *options = NEEDED[name]
    if lacking := [module for module in (plugin, STORAGE) if find_spec(module) is None]:
        pytest.skip(f"{' and '.join(lacking).replace('_', '-')} must be installed")
    secrets = {"SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "none", "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "none"}
    secrets |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "NO_PROXY": "127.0.0.1"}
    with empty_bucket() as address:
        storage = ["--default-storage-prefix", "s3://bucket/run", "--storage-s3-endpoint-url", address]
        command = ["snakemake", "-n", "--profile", f"profiles/{name}", *storage, *options]
        folder = copy_workflow(tmp_path / "workflow")
        planned = subprocess.run(command, cwd=folder, env=os.environ | secrets, capture_output=True, text=True)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert plan_of(planned.stdout + planned.stderr).jobs["train_adapter"] == 3
