"""Command lines of Snakemake that lose settings without a word: each is told, and what is right passes."""

from pathlib import Path

import pytest

from places import ROOT
from vqaflow.config.invocation import require_kept
from vqaflow.runtime.errors import UserError

NONE = {"hardware": {"settings": None}}
MADE = Path("results")
GPU = str(ROOT / "profiles" / "gpu")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--configfile", "a.yaml", "--cores", "1", "--configfile", "b.yaml"],
            "a.yaml is lost. Write --configfile a.yaml b.yaml",
        ),
        (["--configfiles", "a.yaml", "b.yaml", "--configfile", "c.yaml"], "a.yaml, b.yaml is lost"),
        (
            ["--configfile", "my.yaml", "results/eda/summary.json"],
            "results/eda/summary.json was read as a file of settings",
        ),
        (["--profile", GPU, "--config", "train={seed: 3}"], 'Add them: --config "hardware={settings: profiles/gpu/'),
        (["-C", "a=b", "--profile", GPU], "whose settings are lost"),
        (["--workflow-profile", GPU, "--config", "a=b"], "replaces the one of the profile /"),
        (["--sdm", "conda", "apptainer", "--cores", "1"], "VQAFLOW_IMAGE names no image"),
        (["--software-deployment-method", "apptainer"], "write --sdm conda"),
        (["--use-singularity"], "VQAFLOW_IMAGE names no image"),
    ],
)
def test_what_snakemake_drops_is_told(arguments, told):
    """The run would go on with other settings than the user gave."""
    with pytest.raises(UserError, match="command line: ") as error:
        require_kept(arguments, NONE, MADE)
    assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--cores", "1"], None),
        (["--sdm", "conda", "--cores", "1"], None),
        (["--configfile", "a.yaml", "b.yaml", "--", "results/eda/summary.json"], None),
        (["--configfile", "my.yaml", "--", "--configfile"], None),
        (["--profile", GPU], "profiles/gpu/settings.yaml"),
        (["--profile", GPU, "--config", "hardware={settings: mine.yaml}"], "mine.yaml"),
        (["--profile", "somewhere/else", "--config", "a=b"], None),
    ],
)
def test_what_keeps_everything_passes(arguments, settings):
    """A right command line must not be refused."""
    require_kept(arguments, {"hardware": {"settings": settings}}, MADE)


def test_the_profile_of_the_environment_counts(monkeypatch):
    """Snakemake takes a profile from there as well."""
    monkeypatch.setenv("SNAKEMAKE_PROFILE", GPU)
    with pytest.raises(UserError, match="whose settings are lost"):
        require_kept(["--config", "a=b"], NONE, MADE)


def test_apptainer_runs_the_image_that_the_environment_names(monkeypatch):
    """docs/cloud.md shows it; without an image, jobs would run on the host."""
    monkeypatch.setenv("VQAFLOW_IMAGE", "docker://registry.example/vqaflow:0.2.0")
    for option in (["--sdm", "apptainer"], ["--use-singularity"]):
        require_kept([*option, "--cores", "1"], NONE, MADE)
