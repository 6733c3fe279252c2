"""What is kept of a file's analysis is never taken for that of other bytes, and never needed."""

import os
import sys
from pathlib import Path

import pytest

from vqaflow.runtime import analysis as module
from vqaflow.runtime.analysis import Analysis, analyse, analysis_of

SOURCE = b"""import ast
from . import two
from vqaflow.a import one as first
X = 1

def f(a):
    'Words.'
    return a + X
"""
OTHER = SOURCE.replace(b"a + X", b"a - X")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source file whose analysis has been kept once; the environment may say that nothing is to be kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "one.py"
    path.write_bytes(SOURCE)
    anew(path, SOURCE)
    return path


def anew(path: Path, source: bytes) -> Analysis:
    """The analysis as another process would have it."""
    module.analysis_of.cache_clear()
    return analysis_of(path, source)


def kept(path: Path) -> Path:
    """The file that keeps the analysis of `path`."""
    (found,) = (path.parent / "__pycache__").glob("*.meaning")
    return found


def test_what_is_kept_is_what_was_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An analysis that changes on its way through the file gives each later job another digest."""
    monkeypatch.setattr(module, "analyse", None)  # it must not be needed
    found = anew(file, SOURCE)
    assert found == analyse(SOURCE)
    assert found.imports == [(0, "ast", ""), (1, "", "two"), (0, "vqaflow.a", "one")]


def test_an_edited_file_is_analysed_again(file: Path) -> None:
    """The kept analysis of the old bytes would leave a wrong result in place."""
    assert anew(file, OTHER) == analyse(OTHER) != analyse(SOURCE)
    assert anew(file, SOURCE) == analyse(SOURCE)


def test_an_edited_analyser_analyses_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that counts more than before would otherwise count it only after each file's next edit."""
    monkeypatch.setattr(module, "_analyser", lambda: "another")
    monkeypatch.setattr(module, "analyse", lambda source: Analysis([], []))
    assert anew(file, SOURCE) == Analysis([], [])


@pytest.mark.parametrize("at", [0, 1 / 3, 2 / 3, 1])
def test_a_damaged_file_does_not_count(file: Path, at: float) -> None:
    """A bit flips, or another process is writing the file just now."""
    whole = kept(file).read_bytes()
    place = round(at * (len(whole) - 1))
    for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], b"\xff\xfe"):
        kept(file).write_bytes(damaged)
        assert anew(file, SOURCE) == analyse(SOURCE)
    assert kept(file).read_bytes() == whole, "it is kept again"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_checkout_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group's shared installation belongs to somebody else."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    tmp_path.chmod(0o555)
    assert anew(tmp_path / "one.py", SOURCE) == analyse(SOURCE)


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, for root too: a file stands where the folder should be."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "__pycache__").write_text("")
    assert anew(tmp_path / "one.py", SOURCE) == analyse(SOURCE)


def test_nothing_is_kept_where_python_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONDONTWRITEBYTECODE asks for a clean source tree."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert anew(tmp_path / "one.py", SOURCE) == analyse(SOURCE)
    assert not list(tmp_path.iterdir())
