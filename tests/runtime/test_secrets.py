"""Tokens and passwords: masked in all that is logged, refused in the configuration."""

import logging
from pathlib import Path

import pytest

import rows
from vqaflow.config.check import check_config
from vqaflow.config.loading import load_config
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.secrets import hidden
from vqaflow.runtime.stage import log, stage

PLANTED = "planted0secret1value2"
HUB = "hf_" + "PlAnTeD" * 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"cannot reach https://me:{PLANTED}@hub.example/x", "cannot reach https://***@hub.example/x"),
        (f"GET https://hub.example/x?token={PLANTED}&y=1", "GET https://hub.example/x?token=***&y=1"),
        (f"Authorization: Bearer {PLANTED}", "Authorization: Bearer ***"),
        (f"the token {HUB} is wrong", "the token *** is wrong"),
        (f"ghp_{'a1' * 18} sk-{'b2' * 12} AKIA{'C3' * 8}", "*** *** ***"),
        ("https://hub.example/a/b@main?download=1", "https://hub.example/a/b@main?download=1"),
        ("row 'hf_1' of key=value, mail me@host", "row 'hf_1' of key=value, mail me@host"),
    ],
)
def test_a_secret_is_masked_and_nothing_else(text: str, shown: str) -> None:
    assert hidden(text) == shown


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY"])
def test_secrets_of_the_environment_are_masked(name: str, monkeypatch) -> None:
    """Of any form, wherever a library's error repeats them."""
    monkeypatch.setenv(name, PLANTED)
    assert hidden(f"401 for {PLANTED}") == "401 for ***"


def test_a_path_and_a_short_value_are_not_secrets(monkeypatch, tmp_path: Path) -> None:
    """Messages would lose the names of files."""
    monkeypatch.setenv("SSH_KEY", str(tmp_path))
    monkeypatch.setenv("MY_KEY", "train")
    assert hidden(f"{tmp_path}: train") == f"{tmp_path}: train"


def fails(error: Exception, file: Path) -> str:
    """The log of a stage that ends with `error`."""
    with pytest.raises(SystemExit), stage(file):
        log.info("asking with %s", HUB)
        raise error
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [UserError, RuntimeError, OSError])
def test_neither_messages_nor_tracebacks_show_a_secret(
    kind: type[Exception], tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    told = fails(kind(f"refused for {PLANTED} at https://x:{PLANTED}@proxy"), tmp_path / "logs" / "rule.log")
    printed = "".join(capsys.readouterr())
    assert "***" in told and "***" in printed
    for secret in (PLANTED, HUB):
        assert secret not in told and secret not in printed
    logging.getLogger("vqaflow").handlers.clear()


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("model.base", {"model": {"base": f"https://me:{PLANTED}@hub.example/some/name"}}),
        ("model.base", {"model": {"base": f"some/{HUB}"}}),
        ("model.revision", {"model": {"revision": PLANTED}}),
        ("data.train_csv", {"data": {"train_csv": f"https://hub.example/t.csv?token={PLANTED}"}}),
        ("unknown.0", {"unknown": [HUB]}),
    ],
)
def test_a_secret_in_the_configuration_is_refused_by_its_key(key: str, change: dict, monkeypatch, tmp_path) -> None:
    """It would stand in run.json, in Snakemake's records and in every copy of the settings."""
    import yaml

    monkeypatch.setenv("HF_TOKEN", PLANTED)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(change), encoding="utf-8")
    config = load_config(rows.ROOT / "config.yaml", tmp_path / "my.yaml")
    with pytest.raises(UserError) as caught:
        check_config(config, rows.ROOT / "schemas" / "config.schema.yaml")
    told = str(caught.value)
    assert told.startswith(
        f"config: {key}: it holds a token or a password, which logs, run.json and reports would show."
    )
    assert PLANTED not in told and HUB not in told and "\n" not in told
