"""Question types: what each question asks for, and whether mirroring its image could change the answer.

Types are those of the labelling guide: counting, color, ocr, yesno, location, attribute, general. Where the guide's
clear-cut cases do not settle one, a small model over classes of words does (`question_model` trains and measures it).
"""

import argparse
import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vqaflow.config import LETTERS
from vqaflow.errors import UserError
from vqaflow.files import write_text
from vqaflow.progress import ProgressBar, log, stage
from vqaflow.question_features import features
from vqaflow.question_guide import Row, is_final, mirror_matters
from vqaflow.question_weights import Weights, shipped_weights

NEEDED = ("id", "question", *LETTERS)
CHUNK = 1000


@dataclass(frozen=True, slots=True)
class QuestionType:
    """One question's type, and whether a mirrored image may have another answer or be unreadable."""

    qtype: str
    flip_unsafe: bool


def classify_many(rows: Sequence[Mapping[str, str]]) -> list[QuestionType]:
    """Type each of `rows`, which have the keys question, a, b, c and d."""
    return list(classify(rows))


def classify(rows: Iterable[Mapping[str, str]]) -> Iterator[QuestionType]:
    """The same one by one, for tables that are read on the way."""
    from vqaflow.question_reading import read_rows

    weights = shipped_weights()
    return (decide(row, weights) for row in read_rows(rows))


def decide(row: Row, weights: Weights) -> QuestionType:
    """The type of a row that is read: the guide's where it is final, else the model's."""
    scores, flip_score = weights.scores(features(row))
    qtype = row.guide if is_final(row) else weights.types[int(scores.argmax())]
    by_model = not is_final(row) and (qtype == "ocr" or flip_score >= weights.flip_threshold)
    return QuestionType(qtype, mirror_matters(row) or by_model)


def type_table(source: Path, out: Path) -> None:
    """Write `out` (id, qtype, flip_unsafe as 0 or 1) for the rows of the CSV `source`, in their order."""
    rows = read_table(source)
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


def read_table(source: Path) -> list[dict[str, str]]:
    """The needed columns of the CSV `source`, every cell as it stands; raises UserError if one is missing."""
    from vqaflow.submission_files import read_rows

    header, records = read_rows(source)
    if missing := [name for name in NEEDED if name not in header]:
        needed = ", ".join(NEEDED)
        raise UserError(f"{source}: no column {', '.join(missing)}. Give a CSV with the columns {needed}.")
    places = {name: header.index(name) for name in NEEDED}
    return [{name: record[place] for name, place in places.items()} for record in records]


def main() -> None:
    """Type the questions of any table."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.question_types", description=__doc__)
    parser.add_argument("table", type=Path, metavar="IN.csv", help="CSV with the columns id, question, a, b, c and d")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.csv", help="id, qtype and flip_unsafe (0 or 1)")
    given = parser.parse_args()
    with stage(None):
        if given.out.resolve() == given.table.resolve():
            raise UserError(f"{given.out}: this is the table itself, which would be lost. Name another file for --out.")
        type_table(given.table, given.out)


if __name__ == "__main__":
    main()
