"""Folders as competitions hand them out: tables of one's own columns and spelling, and small pictures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CHOICES = ("빨강", "파랑", "노랑", "초록", "하양")


def picture(path: Path, number: int = 0, size: tuple[int, int] = (32, 24)) -> None:
    """A small picture of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def rows(
    split: str, count: int = 8, choices: Sequence[str] = "abcd", answers: Sequence[str] | None = None, path: str = ""
) -> list[dict[str, str]]:
    """Rows of a table; `path` is a pattern of image paths, with {split} and {i}."""
    pattern = path or "{split}/{split}_{i:02d}.png"
    made = []
    for i in range(count):
        row = {"id": f"{split}_{i:02d}", "path": pattern.format(split=split, i=i), "question": f"무슨 색인가요? {i}"}
        row |= {name: f"{CHOICES[n % 5]} {n}" for n, name in enumerate(choices)}
        made.append(row | ({"answer": answers[i % len(answers)]} if answers else {}))
    return made


def write(path: Path, table: Sequence[Mapping[str, str]], encoding: str = "utf-8", separator: str = ",") -> None:
    """Write a table as a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(table)


def pictures_of(table: Sequence[Mapping[str, str]], root: Path, column: str = "path") -> None:
    """The pictures that a table's rows name, under `root`."""
    for number, row in enumerate(table):
        picture(root / row[column], number)


def renamed(table: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> list[dict[str, str]]:
    """A table with other names of columns."""
    return [{names.get(key, key): value for key, value in row.items()} for row in table]


def sample(test: Sequence[Mapping[str, str]], answer: str = "a", row_id: str = "id") -> list[dict[str, str]]:
    """A sample submission of a test table."""
    return [{row_id: row[row_id], "answer": answer} for row in test]


def given(
    folder: Path,
    train: Sequence[Mapping[str, str]] | None = None,
    test: Sequence[Mapping[str, str]] | None = None,
    root: str = "",
    with_sample: bool = True,
) -> Path:
    """A folder with train.csv, test.csv, sample_submission.csv, and the pictures of both tables under `root`."""
    train = rows("train", answers="abcd") if train is None else train
    test = rows("test") if test is None else test
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("train", train), ("test", test)):
        if table:
            write(folder / f"{name}.csv", table)
            pictures_of(table, folder / root)
    if with_sample and test:
        write(folder / "sample_submission.csv", sample(test))
    return folder
