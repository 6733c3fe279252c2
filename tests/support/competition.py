"""Three CSV files and pictures in a folder, which tests damage and then check with validate_tables."""

import csv
import json
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import scipy.fftpack  # noqa: F401  (imagehash loads it at its first call, where the patch below would unload it)
from PIL import Image

from vqaflow.config.sections import ColumnsConfig, section
from vqaflow.data.validate_tables import RawFiles, TableFiles, TableSettings, validate_tables
from vqaflow.question_types import side_by_side
from vqaflow.question_types.classify import QuestionType
from vqaflow.runtime.errors import UserError

COLUMNS = {"id": "id", "image": "path", "question": "question", "choices": ["a", "b", "c", "d"], "answer": "answer"}


@contextmanager
def replaced_classifier():
    """The classifier has its own tests: here every question is of one type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(side_by_side, "classify_many", lambda rows: [QuestionType("general", False) for _ in rows])
        yield


class Competition:
    """Three CSV files and pictures in a folder; tests damage them and run the stage."""

    def __init__(self, folder, rows=6):
        self.folder = folder
        (folder / "train").mkdir()
        (folder / "test").mkdir()
        self.train = [self.row("train", i) | {"answer": "abcd"[i % 4]} for i in range(rows)]
        self.test = [self.row("test", i) for i in range(rows)]
        self.sample = None
        self.encoding = "utf-8"

    def row(self, split, i):
        path = f"{split}/{split}_{i:04d}.png"
        values = np.random.default_rng([i, len(split)]).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(self.folder / path)
        choices = {"a": "빨강", "b": "파랑", "c": "노랑", "d": f"{i}"}
        return {"id": f"{split}_{i:04d}", "path": path, "question": f"무슨 색인가요? {i}"} | choices

    def write(self, name, rows):
        with (self.folder / f"{name}.csv").open("w", encoding=self.encoding, newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def run(self, write=True, **changes):
        if write:
            self.write("train", self.train)
            self.write("test", self.test)
            self.write("sample", self.sample or [{"id": row["id"], "answer": ""} for row in self.test])
        out = self.folder / "out"
        raw = {
            "train_csv": self.folder / "train.csv",
            "test_csv": self.folder / "test.csv",
            "sample_submission": self.folder / "sample.csv",
            "image_root": self.folder,
            "more": (),
            "test_image_root": None,
        }
        settings = {"columns": COLUMNS, "on_bad_row": "stop", "normal_form": "NFKC", "max_image_pixels": 1_000_000}
        raw |= {key: changes.pop(key) for key in list(changes) if key in raw}
        settings["max_quarantined"] = 1.0  # a table of six rows
        settings |= changes
        settings["columns"] = section(ColumnsConfig, settings["columns"])
        files = TableFiles(out / "train.parquet", out / "test.parquet", out / "problems.csv", out / "labels.json")
        with replaced_classifier():
            validate_tables(RawFiles(**raw), TableSettings(**settings), files)
        return pd.read_parquet(out / "train.parquet"), pd.read_parquet(out / "test.parquet")

    def edit(self, name, change):
        """Rewrite a CSV file by a function of its lines."""
        path = self.folder / f"{name}.csv"
        path.write_text("\n".join(change(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")

    def fail(self, **changes):
        """Run, expect it to stop; returns the message."""
        with pytest.raises(UserError) as caught:
            self.run(**changes)
        return str(caught.value)

    def labels(self):
        return json.loads((self.folder / "out" / "labels.json").read_text(encoding="utf-8"))

    def problems(self, name="problems"):
        return pd.read_csv(self.folder / "out" / f"{name}.csv", dtype=str, keep_default_na=False)

    def kinds(self):
        listed = self.problems()
        return set(zip(listed["kind"], listed["id"], listed["column"], strict=True))
