"""The digest of a base is computed once in a run, and never kept when a file has changed."""

import json
import os

import pytest

import rows
from vqaflow.model import base_digest as module
from vqaflow.model.base_digest import KNOWN, base_digest


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The files that are read."""
    seen: list[str] = []
    real = module._digest
    monkeypatch.setattr(module, "_digest", lambda path: seen.append(path.name) or real(path))
    monkeypatch.setenv(KNOWN, "{}")
    return seen


def test_jobs_of_a_run_do_not_read_the_base_again(tmp_path, read) -> None:
    """Thousands of places of a 7B, in each of twelve jobs and several times in each."""
    (tmp_path / "config.json").write_text("{}")
    model = rows.model_config(base=str(tmp_path))
    first = base_digest(model)
    assert base_digest(model) == first and read == ["config.json"]
    assert json.loads(os.environ[KNOWN])[str(tmp_path)][1] == first, "what a job inherits"


def test_a_changed_file_counts_at_once(tmp_path, read) -> None:
    """An adapter of another base would be scored, without a word; the times may have been set back."""
    file = tmp_path / "config.json"
    file.write_text("{1}")
    os.utime(file, (1, 1))
    model = rows.model_config(base=str(tmp_path))
    first = base_digest(model)
    file.write_text("{2}")
    os.utime(file, (1, 1))
    second = base_digest(model)
    assert second != first
    (tmp_path / "more.json").write_text("{}")
    assert base_digest(model) not in (first, second)


def test_a_damaged_note_is_no_digest(tmp_path, read, monkeypatch) -> None:
    """The environment may hold anything."""
    (tmp_path / "config.json").write_text("{}")
    model = rows.model_config(base=str(tmp_path))
    first = base_digest(model)
    for text in ("", "[]", "{", json.dumps({str(tmp_path): ["another", "0" * 64]})):
        monkeypatch.setenv(KNOWN, text)
        assert base_digest(model) == first
