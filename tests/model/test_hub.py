"""model.hub: a machine without the hub says so at once, and reads what it has."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import random_families
from places import ROOT, SCRIPTS
from vqaflow.config.sections import BaseConfig
from vqaflow.model.hub import source_of

CODE = """
import time
import rows
from vqaflow.model.base import load_base
from vqaflow.runtime.errors import UserError
began = time.monotonic()
try:
    print(type(load_base(rows.model_config(base="some/name", revision=REVISION)).network).__name__)
except UserError as error:
    print(error)
print(time.monotonic() - began)
"""


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def loaded(cache: Path, revision: str | None = None, **environment: str) -> tuple[str, float]:
    """What loading `some/name` says in a process of its own, and the seconds that it took there."""
    hub = {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    paths = {"PYTHONPATH": os.pathsep.join([str(SCRIPTS), str(ROOT / "tests" / "support")])}
    run = subprocess.run(
        [sys.executable, "-c", CODE.replace("REVISION", repr(revision))],
        env=os.environ | hub | paths | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *said, seconds = run.stdout.splitlines()
    return "\n".join(said), float(seconds)


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["no network", "offline mode"])
def test_a_hub_name_fails_at_once_without_the_hub(tmp_path, environment):
    """The library tried for 148 seconds, in each job, and then spoke of a file that it could not find."""
    said, seconds = loaded(tmp_path, **environment)
    assert said.startswith("config model.base: some/name is not on this machine, and the hub is out of reach (")
    assert said.endswith(
        "). Run `hf download some/name` where it is in reach, and give the folder; or correct the path of a folder."
    )
    assert seconds < 30


def test_what_was_downloaded_is_read_without_the_hub(tmp_path):
    """Compute nodes of a cluster see the cache, but no network."""
    whole = random_families.save("qwen2_5_vl", tmp_path / "whole")
    repository = tmp_path / "cache" / "models--some--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    shutil.copytree(whole, repository / "snapshots" / ("0" * 40))
    assert loaded(tmp_path / "cache")[0] == "Qwen2_5_VLForConditionalGeneration"
    assert "some/name is not on this machine" in loaded(tmp_path / "cache", revision="v2")[0]


def test_a_folder_asks_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("vqaflow.model.hub.out_of_reach", lambda: pytest.fail("it is here"))
    assert source_of(BaseConfig(str(tmp_path), None, "none", "float32")) == {
        "local_files_only": True,
        "trust_remote_code": False,
    }
