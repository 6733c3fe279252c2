"""`make submit` sends a file only if it is valid, the client is there and knows the user, and the user said yes."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from notebooks.submit import main, require_yes

from places import ROOT
from vqaflow.artifacts.parquet_files import write_parquet
from vqaflow.runtime.errors import UserError

FILE = Path("results/submission.csv")


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A finished run in a folder, and a client that notes what it is asked to send."""
    (tmp_path / "results/tables").mkdir(parents=True)
    for name in ("sample.csv", "results/submission.csv"):
        (tmp_path / name).write_text("id,answer\n1,a\n2,b\n")
    test = pd.DataFrame({"id": ["1", "2"], "image": "1.png", "question": "What?"} | dict.fromkeys("abcd", "x"))
    write_parquet(test, tmp_path / "results/tables/test.parquet")
    letters = {letter: letter for letter in "abcd"}
    (tmp_path / "results/tables/labels.json").write_text(json.dumps({"answers": letters, "submission": letters}))
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"data": {"sample_submission": "sample.csv"}}))
    client = tmp_path / "bin/kaggle"
    client.parent.mkdir()
    client.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > sent\n')
    client.chmod(0o755)
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/kaggle.json").write_text("{}")
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{client.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capfd, *options: str) -> str:
    """The message with which it ends."""
    with pytest.raises(SystemExit) as end:
        main(["--config", "my.yaml", *options])
    assert end.value.code == 1 and not Path("sent").exists()
    return capfd.readouterr().err


NAMED = ("--competition", "name", "--message", "first try")


def test_a_yes_sends_the_file(user):
    main(["--config", "my.yaml", *NAMED, "--yes"])
    assert Path("sent").read_text().splitlines() == [
        "competitions", "submit", "name", "-f", "results/submission.csv", "-m", "first try",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (NAMED, "is not sent to name without a yes. Add YES=1."),
        (("--message", "x", "--yes"), "COMPETITION: is missing"),
        (("--competition", "name", "--yes"), "MESSAGE: is missing"),
        ((*NAMED, "--yes", "--file", "other.csv"), "other.csv: is not there"),
    ],
)
def test_what_was_not_asked_for_is_not_sent(user, capfd, options, told):
    """Each submission counts, and a competition takes few a day."""
    assert told in refused(capfd, *options)


def test_an_invalid_file_is_not_sent(user, capfd):
    FILE.write_text("id,answer\n1,a\n2,z\n")
    assert "submission.csv" in refused(capfd, *NAMED, "--yes")


def test_without_the_client_the_message_says_how_to_get_it(user, capfd):
    (user / "bin/kaggle").unlink()
    assert "pip install kaggle" in refused(capfd, *NAMED, "--yes")


def test_without_credentials_the_message_says_where_they_belong(user, capfd):
    (user / ".kaggle/kaggle.json").unlink()
    assert ".kaggle/access_token: is not there" in refused(capfd, *NAMED, "--yes")


def test_a_client_that_fails_is_told(user, capfd):
    (user / "bin/kaggle").write_text("#!/bin/sh\nexit 4\n")
    assert "kaggle: ended with exit status 4" in refused(capfd, *NAMED, "--yes")


@pytest.mark.parametrize(("answer", "is_sent"), [("yes", True), (" YES ", True), ("y", False), ("", False)])
def test_at_a_terminal_it_asks(answer, is_sent):
    asked = []
    try:
        require_yes(FILE, "name", False, lambda text: asked.append(text) or answer)
    except UserError as error:
        assert not is_sent and "was not sent" in str(error)
    else:
        assert is_sent
    assert "counts as one of today's submissions" in asked[0]


def test_no_other_target_and_no_notebook_submits():
    """It is the user's decision, each time."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    needing = re.findall(r"^([\w. /%-]+):[^=\n]*\bsubmit\b", makefile, re.MULTILINE)
    assert needing == [".PHONY"] and makefile.count("notebooks.submit") == 1
    for name in ("kaggle.ipynb", "colab.ipynb"):
        assert "submit " not in (ROOT / "notebooks" / name).read_text(encoding="utf-8")
