"""What a module, or a run in another folder, takes from the checkout, and where a module's results are."""

import pytest

from places import ROOT
from vqaflow.config.checkout import completed, relocated, require_one_checkout
from vqaflow.config.loading import load_config
from vqaflow.runtime.errors import UserError

SHIPPED = load_config(ROOT / "config.yaml")


def moved(path: str) -> str:
    return path.replace("results/", "april/", 1) if path.startswith("results/") else path


def test_a_modules_keys_are_over_its_profiles_settings_and_these_over_the_defaults():
    """A module's `config` is read as --configfile is; Snakemake itself reads no file for a module that has one."""
    given = {"hardware": {"settings": "profiles/gpu/settings.yaml"}, "train": {"epochs": 7}}
    config = completed(given, ROOT, lacking=True)
    assert config["train"]["epochs"] == 7 and config["model"]["compute_dtype"] == "bfloat16"
    assert config["hardware"]["score_batch_tokens"] == 32768 and config["folds"] == SHIPPED["folds"]
    assert set(given) == {"hardware", "train"}, "the caller's own dictionary stays as it is"


def test_every_path_of_the_settings_in_results_moves_with_them():
    """One that did not would be looked for beside the module's results, or be shared by modules without a word."""
    files = {"oof": "results/runs/old/oof.parquet", "test": "mine/test.csv"}
    data = {**SHIPPED["data"], "more_train": [{"csv": "results/demo/more.csv", "image_root": "dev", "name": "dev"}]}
    config = relocated({**SHIPPED, "data": data, "members": {"main": {}, "old": {"probabilities": files}}}, moved)
    assert "'results/" not in str(config), "a kind of path is left out"
    assert config["data"]["more_train"] == [{"csv": "april/demo/more.csv", "image_root": "dev", "name": "dev"}]
    assert config["members"] == {
        "main": {},
        "old": {"probabilities": {"oof": "april/runs/old/oof.parquet", "test": "mine/test.csv"}},
    }
    assert config["data"]["test_image_root"] is None


def test_two_checkouts_are_refused(tmp_path):
    require_one_checkout(ROOT)
    with pytest.raises(UserError, match="Name one place and one tag"):
        require_one_checkout(tmp_path)
