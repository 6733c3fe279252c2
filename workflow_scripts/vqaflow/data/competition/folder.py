"""The files of a folder, as far as they may be a competition's tables or hold its pictures."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqaflow.artifacts.file_kinds import file_kind
from vqaflow.data.images.finding import SUFFIXES
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

DEEPEST = 5  # folders below the given one
MOST_FOLDERS = 5000
OTHER_TABLES = {".tsv", ".xlsx", ".xls", ".parquet", ".jsonl", ".json", ".zip", ".gz", ".7z", ".rar", ".tar"}
NOT_LOOKED_INTO = {"__MACOSX", "results", "node_modules"}  # results: of vqaflow


@dataclass(frozen=True)
class Listing:
    """The CSV files below a folder, the folders with their depth, and files that may hold tables in another form."""

    folder: Path
    csvs: list[Path]
    folders: list[Path]
    others: list[Path]
    pictures: int


def list_folder(folder: Path) -> Listing:
    """Look through `folder`. Raises UserError if it is no folder, or if there is no CSV file in it."""
    require_folder(folder)
    csvs: list[Path] = []
    folders: list[Path] = []
    others: list[Path] = []
    pictures = 0
    for place, names in walk(folder):
        folders.append(place)
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix == ".csv":
                csvs.append(place / name)
            elif suffix in OTHER_TABLES:
                others.append(place / name)
            pictures += suffix in SUFFIXES
    if not csvs:
        raise UserError(f"{folder}: {without_csv(others, pictures)}")
    return Listing(folder, csvs, folders, others, pictures)


def require_folder(folder: Path) -> None:
    """Raise UserError unless it is a folder."""
    if folder.is_dir():
        return
    if not folder.exists():
        raise UserError(f"{folder}: there is no such folder. Give the folder that holds the competition's CSV files.")
    kind = file_kind(folder) if folder.stat().st_size else None
    if kind and "archive" in kind.name:
        raise UserError(f"{folder}: it is {kind.name}, not a folder. Unpack it, and give the folder that comes out.")
    raise UserError(f"{folder}: it is a file, not a folder. Give the folder that it lies in: {folder.parent}.")


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders from `folder` down, upper ones first, and the names of their files; hidden ones are left out."""
    waiting = [(folder, 0)]
    for count, (place, depth) in enumerate(waiting):
        if count >= MOST_FOLDERS:
            return
        inner, names = [], []
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                inner.append(entry)
            else:
                names.append(entry.name)
        yield place, names
        if depth < DEEPEST:
            waiting += [(place / one.name, depth + 1) for one in inner if not left_out(one)]


def left_out(folder: os.DirEntry[str]) -> bool:
    """Whether a folder is not looked into: a link may lead round in a circle only if it leads upwards."""
    if folder.name in NOT_LOOKED_INTO:
        return True
    return folder.is_symlink() and Path(folder.path).absolute().is_relative_to(Path(folder.path).resolve())


def without_csv(others: list[Path], pictures: int) -> str:
    """What to say of a folder without a CSV file: what is there instead, and what to do."""
    if not others and not pictures:
        return "it is empty. Download the competition's data into it, and unpack them."
    if not others:
        return f"it has {pictures} pictures, but no CSV file. Give the folder that holds the tables too."
    names = some([path.name for path in others])
    kind = file_kind(others[0]) if others[0].stat().st_size else None
    cure = f"{kind.cure}" if kind else "Save the tables as CSV in UTF-8"
    return f"it has no CSV file, but {names}. {cure}."
