"""Questions with the types that people gave them.

Shapes: N questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqaflow.question_types.classify import NEEDED
from vqaflow.question_types.guide import Row
from vqaflow.runtime.errors import UserError

TYPES = ("ocr", "counting", "color", "yesno", "location", "attribute", "general")  # in the guide's order of priority


@dataclass(frozen=True)
class Labelled:
    """N labelled questions that were read."""

    questions: tuple[str, ...]
    rows: tuple[Row, ...]
    types_N: np.ndarray
    unsafe_N: np.ndarray

    def take(self, which: Sequence[int] | np.ndarray) -> "Labelled":
        """Some of the questions."""
        return Labelled(
            tuple(self.questions[i] for i in which),
            tuple(self.rows[i] for i in which),
            self.types_N[which],
            self.unsafe_N[which],
        )


def read_labelled(source: Path) -> Labelled:
    """Read a labelled CSV. Raises UserError if a column is missing or a label is unknown."""
    from vqaflow.artifacts.csv_files import read_csv
    from vqaflow.question_types.reading import read_questions

    header, records = read_csv(source)
    needed = (*NEEDED, "qtype", "flip_unsafe")
    if missing := [name for name in needed if name not in header]:
        raise UserError(f"{source}: no column {', '.join(missing)}. Give a CSV with {', '.join(needed)}.")
    rows = [dict(zip(header, record, strict=True)) for record in records]
    for row in rows:
        if row["qtype"] not in TYPES or row["flip_unsafe"] not in ("0", "1"):
            what = f"qtype {row['qtype']!r} or flip_unsafe {row['flip_unsafe']!r} is not a label"
            raise UserError(f"{source}: row {row['id']}: {what}. Give one of {', '.join(TYPES)}, and 0 or 1.")
    return Labelled(
        tuple(row["question"] for row in rows),
        tuple(read_questions(rows)),
        np.array([row["qtype"] for row in rows]),
        np.array([row["flip_unsafe"] == "1" for row in rows]),
    )
