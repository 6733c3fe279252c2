"""A stage that is run by hand takes the same settings as Snakemake does, and says what is wrong with them."""

import pytest
import yaml

from places import ROOT
from vqaflow.commands.command_line import main
from vqaflow.config.loading import checked_config, load_config
from vqaflow.runtime.errors import UserError


@pytest.fixture
def mine(tmp_path):
    """Writes a user's settings and gives their file."""

    def write(text: str, name: str = "my.yaml"):
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train: {epochs: 2",
            r"my\.yaml line 1: the \{ of line 1 is not closed\. Close it, or add the missing comma\.",
        ),
        ("orders: [a, b\ntrain: 3\n", r"my\.yaml line 2: the \[ of line 1 is not closed\. "),
        ("prompt:\n  system: {a} b\n", r"my\.yaml line 2: the value '{a} b' begins with a sign of YAML's own\. "),
        ("train:\n\tepochs: 2\n", r"my\.yaml line 2: has a tab, and YAML takes only spaces\. "),
        ("epochs: \x07", r"my\.yaml: is not YAML \(unacceptable character .+\)\. "),
        ("since: 2024-13-41", r"my\.yaml: is not YAML \(month must be in 1\.\.12.*\)\. "),
        ("- train\n- 2\n", r"my\.yaml: does not contain `key: value` lines\. "),
    ],
)
def test_a_broken_file_is_named_with_the_line(mine, text, message):
    """A traceback of the YAML package says neither which of several files it is nor what to do."""
    with pytest.raises(UserError, match=message) as error:
        load_config(mine(text))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_in_utf_8_is_named(tmp_path):
    (tmp_path / "korean.yaml").write_bytes("prompt: {system: 안녕}".encode("cp949"))
    for name, message in (("no.yaml", "No such file"), (".", "Is a directory"), ("korean.yaml", "UTF-8")):
        with pytest.raises(UserError, match=message) as error:
            load_config(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ")


def test_a_file_of_what_differs_is_enough(mine):
    """What Snakemake makes of --configfile my.yaml, a stage by hand makes of --config my.yaml."""
    whole = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config = checked_config(mine("train: {epochs: 9}"))
    assert config["train"]["epochs"] == 9
    whole["train"]["epochs"] = 9
    assert config == whole


def test_the_file_of_hardware_settings_lies_below_the_users(mine):
    """A profile's settings must not win over the user's own, nor be forgotten."""
    settings = mine("train: {batch_size: 3, accumulation: 5}", "settings.yaml")
    config = checked_config(mine(f"hardware: {{settings: {settings}}}\ntrain: {{batch_size: 7}}"))
    assert (config["train"]["batch_size"], config["train"]["accumulation"]) == (7, 5)


def test_a_mistake_stops_a_stage_that_is_run_by_hand(mine):
    """A misspelt key would be ignored, and another run would start than the one asked for."""
    with pytest.raises(UserError, match=r"train\.epoch: unknown key; did you mean 'epochs'\?"):
        checked_config(mine("train: {epoch: 9}"))
    with pytest.raises(UserError, match="hardware: null is not a section"):
        checked_config(mine("hardware:"))


BY_HAND = {
    "demo_gain": [],
    "ensemble_probabilities": [],
    "evaluate_oof": [],
    "explore_data": [],
    "label_mass": [],
    "make_folds": [],
    "plan": [],
    "pool_member": [],
    "prepare_demo": [],
    "run_trials": [],
    "score_choices": ["--split", "oof", "--fold", "0"],
    "search_hyperparameters": [],
    "show_answers": [],
    "tiny_base": ["--out", "model"],
    "train_adapter": ["--fold", "0"],
    "validate_tables": [],
    "write_submission": [],
}


@pytest.mark.parametrize("stage", BY_HAND)
def test_every_stage_checks_the_configuration_before_it_begins(stage, mine, tmp_path, monkeypatch, capsys):
    """Otherwise a misspelt key would count as a default, or the stage would end in a traceback."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([stage, "--config", str(mine("folds: {n: 0}\nensembel: {}")), *BY_HAND[stage]])
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert "folds.n" in shown and "ensembel: unknown key" in shown and "Traceback" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"], "nothing may have been made"


def test_a_config_in_the_working_directory_is_below_the_settings_that_it_names(tmp_path, monkeypatch):
    """Snakemake reads them in this order: a stage run by hand would use other settings than the workflow."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("hardware: {settings: s.yaml, score_batch_tokens: 5000}", encoding="utf-8")
    (tmp_path / "s.yaml").write_text("hardware: {score_batch_tokens: 777}", encoding="utf-8")
    assert checked_config()["hardware"]["score_batch_tokens"] == 777
    (tmp_path / "my.yaml").write_text("hardware: {settings: s.yaml, score_batch_tokens: 6000}", encoding="utf-8")
    assert checked_config("my.yaml")["hardware"]["score_batch_tokens"] == 6000
