"""Question types of a whole CSV table."""

import csv
import io
from itertools import islice
from pathlib import Path

from vqaflow.question_types.choices import LETTERS
from vqaflow.question_types.classify import classify
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.files import write_text
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log

NEEDED = ("id", "question", "a", "b")
CHUNK = 1000


def type_table(source: Path, out: Path) -> None:
    """Write `out` (id, qtype, flip_unsafe as 0 or 1) for the rows of the CSV `source`, in their order."""
    rows = read_question_table(source)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "qtype", "flip_unsafe"))
    with ProgressBar(len(rows), "typing questions") as bar:
        found = classify(rows)
        for start in range(0, len(rows), CHUNK):
            chunk = list(islice(found, CHUNK))
            for row, kind in zip(rows[start : start + CHUNK], chunk, strict=True):
                writer.writerow((row["id"], kind.qtype, int(kind.flip_unsafe)))
            bar.advance(len(chunk))
    write_text(out, table.getvalue())
    log.info("%s: types of %d questions", out, len(rows))


def read_question_table(source: Path) -> list[dict[str, str]]:
    """Ids, questions and choices of the CSV `source`, every cell unchanged. Raises UserError if a column is missing."""
    from vqaflow.artifacts.csv_files import read_csv

    header, records = read_csv(source)
    if missing := [name for name in NEEDED if name not in header]:
        needed = f"{', '.join(NEEDED)}, and c to {LETTERS[-1]} as far as there are choices"
        raise UserError(f"{source}: no column {', '.join(missing)}. Give a CSV with the columns {needed}.")
    places = {name: header.index(name) for name in ("id", "question", *LETTERS) if name in header}
    return [{name: record[place] for name, place in places.items()} for record in records]
