"""Tokens and passwords: masked in all that is logged, refused in the configuration."""

import logging
import os
import time
from pathlib import Path

import pytest

import rows
from vqaflow.config.check import check_config
from vqaflow.config.loading import load_config
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.secrets import SECRET_NAME, hidden
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


# Made up, and put together here: none is in this file as it would be elsewhere.
HEX, MIXED = "0123456789abcdef" * 2, "aB3" * 14
JWT = ".".join(f"eyJ{MIXED[:20]}" for _ in range(2)) + f".{MIXED}"
PEM = "-----{0} RSA PRIVATE KEY-----\n" + f"{MIXED}\n{MIXED[:30]}==\n"
FORMS = {
    **{f"GitHub, gh{kind}_": f"gh{kind}_{MIXED[:36]}" for kind in "pousr"},
    "GitHub, of some repositories": f"github_pat_{MIXED[:22]}_{MIXED}",
    "GitLab": f"glpat-{MIXED[:20]}",
    "Slack, bot": f"xoxb-{'12' * 6}-{MIXED[:24]}",
    "Slack, app": f"xapp-1-{MIXED[:20]}",
    "Google": f"AIza{MIXED[:35]}",
    "Google, OAuth": f"ya29.{MIXED}",
    "Hugging Face": f"hf_{MIXED[:34]}",
    "Hugging Face, organisation": f"api_org_{MIXED[:34]}",
    "OpenAI": f"sk-{MIXED}",
    "OpenAI, project": f"sk-proj-{MIXED}-{MIXED[:9]}",
    "Anthropic": f"sk-ant-api03-{MIXED}-{MIXED[:9]}",
    "AWS": f"AKIA{'C3' * 8}",
    "AWS, for a session": f"ASIA{'C3' * 8}",
    "Weights & Biases": f"wandb_v1_{MIXED}",
    "Kaggle": f"KGAT_{HEX}",
    "Databricks": f"dapi{HEX}",
    "npm": f"npm_{MIXED[:36]}",
    "PyPI": f"pypi-AgEIcHlwaS5vcmc{MIXED}",
    "JWT": JWT,
    "private key": PEM.format("BEGIN") + PEM.format("END").partition("\n")[0],
    "private key in one line": (PEM.format("BEGIN") + PEM.format("END").partition("\n")[0]).replace("\n", r"\n"),
    "private key, cut off": PEM.format("BEGIN").rstrip("\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_token_is_known_by_its_form(form: str) -> None:
    """A library's error repeats it, whatever variable it came from."""
    for before, after in (("", ""), ("refused: ", ", says the server"), ("x='", "'"), ('{"a": "', '"}')):
        assert hidden(before + FORMS[form] + after) == f"{before}***{after}"


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [
        ("KAGGLE_KEY=", HEX, " python submit.py"),
        ("export WANDB_API_KEY='", HEX + "01234567", "'"),
        ("MY_PASSWORD=", "correct-horse", ""),
        ("AWS_SECRET_ACCESS_KEY=", "wJalr/XUtn+FEMI/K7MD", ""),
        ("aws_secret_access_key = ", "wJalr/XUtn+FEMI/K7MD", "\n"),
        ("token=", PLANTED, "; retry"),
        ("wandb: api_key: ", HEX, ""),
        ('{"username": "me", "key": "', HEX, '"}'),
        ("{'key': '", HEX, "', 'username': 'me'}"),
        ('{"password": "', PLANTED, '"}'),
        ("machine api.wandb.ai login user password ", "abcd1234", ""),
        ("curl -H 'Authorization: Bearer ", "abcdefghij", "' x"),
        ("Authorization: Basic ", "bWU6c2VjcmV0", ""),
        ("{'Authorization': 'token ", "abcdefghij", "'}"),
        ("x-api-key: ", PLANTED, ""),
        ("huggingface-cli login --token ", PLANTED, ""),
        ("postgres://", "me:pa/ss", "@db.example/optuna"),
        ("mysql://", "me:p@ss", "@db.example"),
        ("https://s3.example/b?x=1&X-Amz-Signature=", HEX, ""),
        ("https://app.example/#access_token=", PLANTED, ""),
        ("https://hooks.slack.com/services/", "T0AB/B0CD/abcdefgh", ""),
    ],
)
def test_a_value_is_a_secret_by_its_name_or_its_place(before: str, secret: str, after: str) -> None:
    assert hidden(before + secret + after) == f"{before}***{after}"


@pytest.mark.parametrize(
    "text",
    [
        f"sha256:{HEX * 2} of https://hub.example:8080/a/b@{HEX[:7]}?download=1#L10",
        f'{{"key": "{HEX * 2}", "held_out": "{HEX * 2}", "letter_tokens": [32, 33]}}',
        "see http://[::1]:6006/a@b or ssh git@host:a/b.git, mail me@host.example",
        "train.learning_rate=0.0001 token: 9.9e-05 per_token=12345678 read_tokens: 64",
        "sk-learn-contrib-and-others, task-specific-very-long-name-1, hf_1, ghp_short, AKIA",
        "HF_TOKEN=$OTHER_TOKEN1 HF_TOKEN=<your token> WANDB_API_KEY=/run/secrets/wandb1 SSH_KEY=~/.ssh/id_rsa",
        "token = tokenizer_of(base2) password: see docs/troubleshooting.md, key=value1234",
        "data:image/png;base64," + "iVBORw0KGgo/AIzaAAKIA0000000000000000+" * 3,
        "-----BEGIN CERTIFICATE----- is no key",
    ],
)
def test_ordinary_words_addresses_and_digests_are_not_masked(text: str) -> None:
    """A message would lose what it names."""
    assert hidden(text) == text


def test_no_file_of_the_workflow_is_taken_for_a_secret(monkeypatch) -> None:
    """A crate has these files, and is refused if one of them holds a secret."""
    for name in [name for name in os.environ if SECRET_NAME.search(name)]:
        monkeypatch.delenv(name)
    folders = ("workflow_scripts", "rules", "schemas", "profiles", "docs", "envs")
    files = [path for folder in folders for path in (rows.ROOT / folder).rglob("*") if path.is_file()]
    files += [rows.ROOT / name for name in ("Snakefile", "config.yaml", "README.md", "requirements.lock")]
    texts = {path: path.read_bytes().decode("utf-8", "ignore") for path in files if path.suffix not in (".pyc", ".png")}
    assert len(texts) > 400 and not [str(path) for path, text in texts.items() if hidden(text) != text]


def test_a_long_line_takes_no_time() -> None:
    """Pages hold pictures as one line of a megabyte; a search that tries each beginning would take minutes."""
    for text in ("iVBORw0KGgo+/" * 20_000, "a_b-" * 50_000, "A_" * 50_000, "https://" + "a:" * 30_000):
        began = time.process_time()
        assert hidden(text) == text and time.process_time() - began < 5


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
