"""Digests of whole folders, to see that a command changed nothing, or made the same again."""

from pathlib import Path

from vqaflow.runtime.digests import file_digest, value_digest


def folder_digest(folder: Path | str) -> str:
    """sha256 over the names and bytes of all files of a folder."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return value_digest([[str(path.relative_to(folder)), file_digest(path)] for path in paths])
