"""Questions with the types that people gave them.

Shapes: N questions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqaflow.question_types.features import Row
from vqaflow.question_types.tables import read_question_table
from vqaflow.runtime.errors import UserError

TYPES = ("ocr", "counting", "color", "yesno", "location", "attribute", "general")  # in the guide's order of priority
LABELS = ("qtype", "flip_unsafe")


@dataclass(frozen=True)
class Labelled:
    """N labelled questions that were read."""

    rows: tuple[Row, ...]
    types_N: np.ndarray
    unsafe_N: np.ndarray
    sources_N: np.ndarray
    """The name of the file that each is from."""

    def take(self, which: Sequence[int] | np.ndarray) -> "Labelled":
        """Some of the questions."""
        return Labelled(
            tuple(self.rows[i] for i in which), self.types_N[which], self.unsafe_N[which], self.sources_N[which]
        )

    @property
    def templates_N(self) -> np.ndarray:
        """A number for each question; near-same questions have the same, so that no split may part them."""
        return np.unique([row.template for row in self.rows], return_inverse=True)[1]


def read_labelled(sources: Sequence[Path], texts: Sequence[Path] = ()) -> Labelled:
    """Read labelled CSVs; where one has only id, qtype and flip_unsafe, the questions of its ids are in `texts`.

    Raises UserError if a column or a question is missing or a label is unknown.
    """
    from vqaflow.question_types.reading import read_questions

    found = {row["id"]: row for table in texts for row in read_question_table(table)}
    rows, names = [], []
    for source in sources:
        for row in _labelled_rows(source, found):
            rows.append(row)
            names.append(source.stem)
    return Labelled(
        tuple(read_questions(rows)),
        np.array([row["qtype"] for row in rows]),
        np.array([row["flip_unsafe"] == "1" for row in rows]),
        np.array(names),
    )


def _labelled_rows(source: Path, texts: Mapping[str, Mapping[str, str]]) -> Iterable[dict[str, str]]:
    from vqaflow.artifacts.csv_files import read_csv

    header, records = read_csv(source)
    if missing := [name for name in ("id", *LABELS) if name not in header]:
        raise UserError(f"{source}: no column {', '.join(missing)}. Give a CSV with id, {', '.join(LABELS)}.")
    for record in records:
        row = dict(zip(header, record, strict=True))
        if row["qtype"] not in TYPES or row["flip_unsafe"] not in ("0", "1"):
            what = f"qtype {row['qtype']!r} or flip_unsafe {row['flip_unsafe']!r} is not a label"
            raise UserError(f"{source}: row {row['id']}: {what}. Give one of {', '.join(TYPES)}, and 0 or 1.")
        if "question" not in row and row["id"] not in texts:
            raise UserError(f"{source}: row {row['id']}: no question. Name the table that holds it by --text.")
        yield row if "question" in row else {**texts[row["id"]], **row}
