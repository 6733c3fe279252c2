"""Each profile must start, with settings that the schema allows, below the user's own and above the demo's."""

import shutil
from pathlib import Path

import pytest
import yaml

from vqaflow.config.check import check_config
from vqaflow.config.loading import load_config
from workflow_world import ROOT, copy_workflow, plan_of, snakemake

PROFILES = sorted(path.name for path in (ROOT / "profiles").iterdir())
WITH_SETTINGS = ["colab-a100", "colab-l4", "gpu", "kaggle-t4x2", "slurm"]
CLOUDS = ["awsbatch", "googlebatch", "kubernetes"]  # test_cloud_profiles.py: they need plugins and a bucket


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory):
    folder = copy_workflow(tmp_path_factory.mktemp("profiles") / "workflow")
    (folder / "mine.yaml").write_text("train: {epochs: 2.5, batch_size: 3}\n")
    return folder


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))


def settings_of(name: str) -> str:
    (entry,) = profile(name)["config"]
    return yaml.safe_load(entry.removeprefix("hardware="))["settings"]


def test_the_promised_profiles_are_there():
    assert PROFILES == sorted(["default", *WITH_SETTINGS, *CLOUDS])


@pytest.mark.parametrize("name", ["default", *WITH_SETTINGS])
def test_a_profile_plans_the_whole_workflow(workflow, name):
    """As a user calls it; the schema is checked on the way. The default one is taken without being named."""
    options = [] if name == "default" else ["--profile", f"profiles/{name}"]
    ended = snakemake(workflow, "-n", "--configfile", "mine.yaml", *options)
    assert ended.returncode == 0, ended.stdout
    plan = plan_of(ended.stdout)
    assert plan.jobs["train_adapter"] == 3
    assert ("store_base" in plan.rules) == (name in ("default", "kaggle-t4x2")), "only where a base may be quantised"


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_settings_lie_between_the_demos_and_the_users(workflow, tmp_path, name):
    """A user's file must win over the profile it is run with, and the profile over config.yaml."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    settings = yaml.safe_load((ROOT / settings_of(name)).read_text(encoding="utf-8"))
    told = "\n".join(
        [
            "import sys",
            "print('TOLD', config['model']['base'], config['train']['learning_rate'], config['train']['batch_size'],",
            "      config['train']['seed'], file=sys.stderr)",
        ]
    )
    edited = Path(shutil.copytree(workflow, tmp_path / "workflow"))
    with (edited / "Snakefile").open("a", encoding="utf-8") as snakefile:
        snakefile.write("\n\n" + told + "\n")
    ended = snakemake(edited, "-n", "--configfile", "mine.yaml", "--profile", f"profiles/{name}")
    wanted = [settings["model"]["base"], settings["train"]["learning_rate"], 3, config["train"]["seed"]]
    assert f"TOLD {' '.join(map(str, wanted))}\n" in ended.stdout


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_settings_are_of_the_schema(name):
    check_config(load_config(ROOT / "config.yaml", ROOT / settings_of(name)), ROOT / "schemas" / "config.schema.yaml")


def test_the_default_profile_leaves_the_others_their_keys():
    """Snakemake loads it always and lets it win: a key here would silently undo the same key of a named profile."""
    for name in WITH_SETTINGS:
        assert set(profile("default")) & set(profile(name)) == set()


def test_what_fits_a_t4():
    """A T4 has no bfloat16 and 16 GB, which hold a 7B in NF4 only; two cards work at the same time."""
    model = load_config(ROOT / "config.yaml", ROOT / settings_of("kaggle-t4x2"))["model"]
    assert (model["compute_dtype"], model["quantization"]) == ("float16", "nf4")
    assert profile("kaggle-t4x2")["resources"]["gpu"] == 2


@pytest.mark.parametrize(("name", "rows"), [("colab-l4", 4), ("colab-a100", 16)])
def test_what_fits_colab_s_cards(name, rows):
    """One card in bfloat16; a step has as many rows on both, so that the learning rate means the same."""
    config = load_config(ROOT / "config.yaml", ROOT / settings_of(name))
    assert (config["model"]["compute_dtype"], config["model"]["quantization"]) == ("bfloat16", "none")
    assert config["train"]["batch_size"] == rows and rows * config["train"]["accumulation"] == 16
    assert (config["hardware"]["session_hours"], profile(name)["resources"]["gpu"]) == (12, 1)


def test_what_fits_one_large_card():
    model = load_config(ROOT / "config.yaml", ROOT / settings_of("gpu"))["model"]
    assert (model["compute_dtype"], model["quantization"]) == ("bfloat16", "none")
    batches = [load_config(ROOT / settings_of(name))["train"]["batch_size"] for name in ("gpu", "kaggle-t4x2")]
    assert batches[0] > batches[1]
    assert profile("gpu")["resources"]["gpu"] == 1


@pytest.mark.parametrize(("name", "at_once"), [("kaggle-t4x2", 2), ("gpu", 1), ("colab-l4", 1)])
def test_the_profile_caps_the_jobs_with_a_gpu(tmp_path, name, at_once):
    """Four jobs that need a GPU and end when as many as may run have begun: more at a time would be seen."""
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('{i}.txt', i=range(4))\n\n"
        "rule one:\n    output: '{i}.txt'\n    resources: gpu=1\n"
        "    shell: 'mkdir busy.{wildcards.i}; sleep 1; ls | grep -c busy > {output}; rmdir busy.{wildcards.i}'\n"
    )
    options = ["--profile", str(ROOT / "profiles" / name), "--cores", "8"]
    ended = snakemake(tmp_path, *options)
    assert ended.returncode == 0, ended.stdout
    assert max(int((tmp_path / f"{i}.txt").read_text()) for i in range(4)) == at_once
