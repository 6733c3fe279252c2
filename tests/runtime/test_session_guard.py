"""What an earlier session has kept is not deleted by one that was not told to go on from it."""

from pathlib import Path

import pytest

from vqaflow.runtime.errors import UserError
from vqaflow.runtime.session.bounded import Limits, Session
from vqaflow.runtime.session.kept import keep

LIMITS = Limits(3600.0, 60.0, 600.0)


def kept_by_a_session(folder: Path) -> Path:
    """A folder in which a session has kept one file."""
    (folder / "first/results").mkdir(parents=True)
    (folder / "first/results/w.bin").write_bytes(b"weights")
    keep(folder / "first", folder / "kept")
    (folder / "second").mkdir()
    return folder / "kept"


@pytest.mark.parametrize("other", [None, "elsewhere"])
def test_a_kept_folder_is_not_replaced_unread(tmp_path: Path, other: str | None) -> None:
    """Adapters of many hours were gone, with exit status 0."""
    kept = kept_by_a_session(tmp_path)
    session = Session(["true"], LIMITS, kept, tmp_path / "second")
    with pytest.raises(UserError, match="holds an earlier session"):
        session.bring_back(tmp_path / other if other else None)


def test_the_folder_itself_is_gone_on_from(tmp_path: Path) -> None:
    """As the message says."""
    kept = kept_by_a_session(tmp_path)
    Session(["true"], LIMITS, kept, tmp_path / "second").bring_back(kept)
    assert (tmp_path / "second/results/w.bin").read_bytes() == b"weights"
