"""Two results folders against each other, on the rows that both have: is one better, where, and which answers changed?

`python -m vqaflow.compare RUN_A RUN_B` prints accuracies, the paired gain of B over A (exact McNemar test, bootstrap
over groups), by question type too, and the rows that flipped; `--out FILE` writes all of those as CSV.
"""

import argparse
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.artifacts import read_json, read_table
from vqaflow.config import LETTERS
from vqaflow.ensemble_probabilities import PROBABILITIES
from vqaflow.errors import UserError
from vqaflow.files import atomic_path
from vqaflow.progress import log, stage
from vqaflow.score_files import some
from vqaflow.statistics import CONFIDENCE, accuracy_summary, paired_summary

SEED = 0  # of the bootstrap
CONTENT = ["question", *LETTERS, "answer", "sha256"]  # what must be the same for two rows to be one question
SHOWN_FLIPS, SHOWN_WIDTH = 20, 48
FLIPS = ["change", "id", "qtype", "answer", "answer_a", "answer_b", "p_right_a", "p_right_b", "question"]


@dataclass(frozen=True)
class Comparison:
    """`rows` are the shared ones with both runs' answers; summaries are statistics.paired_summary's, B against A."""

    rows: pd.DataFrame
    notes: list[str]
    overall: dict[str, Any]
    by_type: dict[str, dict[str, Any]]

    @property
    def flips(self) -> pd.DataFrame:
        """Rows that the runs answer differently: gained, lost, then those that are wrong in both."""
        changed = self.rows[self.rows["answer_a"] != self.rows["answer_b"]]
        change = np.select([changed["right_b"], changed["right_a"]], ["gained", "lost"], "both wrong")
        order = {"gained": 0, "lost": 1, "both wrong": 2}
        changed = changed.assign(change=change).sort_values("id")
        return changed.sort_values("change", key=lambda kinds: kinds.map(order), kind="stable")[FLIPS]


def compare(first: Path, second: Path) -> Comparison:
    """Compare the OOF answers of the results folders `first` (A) and `second` (B).

    Rows that only one has are left out, which a note tells. Raises UserError if the folders share no row, or if a
    shared id is not the same question in both.
    """
    a, b = read_run(first), read_run(second)
    shared = a.index.intersection(b.index, sort=False)
    if shared.empty:
        raise UserError(f"{first} and {second}: they have no training row in common. Compare runs on the same data.")
    rows_a, rows_b = a.loc[shared], b.loc[shared]
    if differing := [
        i for i, same in zip(shared, (rows_a[CONTENT] == rows_b[CONTENT]).all(axis=1), strict=True) if not same
    ]:
        raise UserError(
            f"{first} and {second}: rows {some(differing)} have another question, image or answer in each. "
            "Compare runs on the same data."
        )
    rows = rows_a[["qtype", "group", "question", "answer"]].copy()
    for name, run in (("a", rows_a), ("b", rows_b)):
        p_NC = run[PROBABILITIES].to_numpy()
        rows[f"answer_{name}"] = np.array(LETTERS)[p_NC.argmax(1)]
        rows[f"p_right_{name}"] = p_NC[np.arange(len(run)), run["answer"].map(LETTERS.index)]
        rows[f"right_{name}"] = rows[f"answer_{name}"] == rows["answer"]
    rows = rows.reset_index(names="id")
    by_type = {str(qtype): paired(part) for qtype, part in rows.groupby("qtype")}
    return Comparison(rows, [*row_notes(a, b), *setting_notes(first, second)], paired(rows), by_type)


def read_run(folder: Path) -> pd.DataFrame:
    """A run's training rows by id, with fold, group and OOF probabilities."""
    table = read_table(folder / "tables" / "train.parquet", "validate_tables", ["id", "qtype", *CONTENT])
    folds = read_table(folder / "folds.parquet", "make_folds", ["id", "fold", "group"])
    oof = read_table(folder / "ensemble" / "oof.parquet", "ensemble_probabilities", ["id", *PROBABILITIES])
    rows = table.merge(folds, on="id", validate="1:1").merge(oof, on="id", validate="1:1").set_index("id")
    if len(rows) != len(table):
        raise UserError(f"{folder}: its table, folds and OOF rows differ. Run `python -m vqaflow.verify {folder}`.")
    return rows


def row_notes(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[str]:
    """What differs in the rows that were trained on and scored."""
    for name, other, mine in (("A", "B", a.index.difference(b.index)), ("B", "A", b.index.difference(a.index))):
        if len(mine):
            yield f"{len(mine)} rows of {name} are not in {other} and are left out: {some(list(mine))}."
    shared = a.index.intersection(b.index)
    if moved := int((a.loc[shared, "fold"] != b.loc[shared, "fold"]).sum()):
        yield f"{moved} shared rows are in another fold: their adapters were trained on other rows, too."


def setting_notes(first: Path, second: Path) -> Iterator[str]:
    """Settings that differ between the runs, as far as both folders tell: of fold 0's adapter, and the recipe."""
    places = {"adapters/fold0/run.json": ("model", "train"), "ensemble/recipe.json": ("chosen", "views")}
    for place, keys in places.items():
        if not all((folder / place).is_file() for folder in (first, second)):
            continue
        values = [flat({key: read_json(folder / place, "all").get(key) for key in keys}) for folder in (first, second)]
        for key in sorted(values[0].keys() | values[1].keys()):
            old, new = (v.get(key) for v in values)
            if old != new:
                yield f"{key}: {old!r} in A, {new!r} in B."


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def paired(rows: pd.DataFrame) -> dict[str, Any]:
    """Both accuracies on `rows` and the paired tests of B against A."""
    right_a, right_b = rows["right_a"].to_numpy(), rows["right_b"].to_numpy()
    tests = paired_summary(right_a, right_b, rows["group"].to_numpy(), SEED)
    return tests | {"a": accuracy_summary(right_a), "b": accuracy_summary(right_b)}


def describe(found: Comparison) -> Iterator[str]:
    """What the command prints, line by line."""
    yield from (f"note: {note}" for note in found.notes)
    header = ["rows", "n", "A", "B", "B - A, 95 % interval", "only A right", "only B right", "p (McNemar)"]
    lines = [summary_line("all", found.overall, 1)]
    lines += [summary_line(qtype, summary, len(found.by_type)) for qtype, summary in found.by_type.items()]
    yield from columns([header, *lines])
    if len(found.by_type) > 1:
        yield f"p-values by type are multiplied by their number, {len(found.by_type)} (Bonferroni)."
    yield verdict(found.overall)
    flips = found.flips
    counts = flips["change"].value_counts()
    yield f"{len(flips)} answers changed: " + ", ".join(
        f"{counts.get(k, 0)} {k}" for k in ("gained", "lost", "both wrong")
    )
    if len(flips):
        shown = flips.head(SHOWN_FLIPS).astype({"p_right_a": object, "p_right_b": object})
        cells = [
            [f"{cell:.2f}" if isinstance(cell, float) else cut(str(cell)) for cell in row] for row in shown.to_numpy()
        ]
        yield from columns([FLIPS, *cells])
    if len(flips) > SHOWN_FLIPS:
        yield f"and {len(flips) - SHOWN_FLIPS} more; --out FILE writes all of them."


def summary_line(name: str, summary: Mapping[str, Any], tests: int) -> list[str]:
    """One line of the table of accuracies; its p-value is corrected for the number of `tests`."""
    return [
        name,
        f"{summary['n']:,}",
        *(f"{100 * summary[run]['accuracy']:.2f} % {interval(summary[run]['wilson'])}" for run in "ab"),
        f"{100 * summary['gain']:+.2f} {interval(summary['bootstrap'], '+')}",
        str(summary["only_first_right"]),
        str(summary["only_second_right"]),
        f"{min(1.0, tests * summary['mcnemar_p']):.3g}",
    ]


def interval(bounds: Sequence[float] | None, sign: str = "") -> str:
    """An interval in percent; a single group has none."""
    if bounds is None:
        return "[one group]"
    return f"[{100 * bounds[0]:{sign}.2f}, {100 * bounds[1]:{sign}.2f}]"


def verdict(summary: Mapping[str, Any]) -> str:
    """One sentence: is the difference more than noise? Both tests must say so."""
    low, high = summary["bootstrap"] or (0, 0)
    if summary["mcnemar_p"] >= 1 - CONFIDENCE or low <= 0 <= high:
        return "The difference is within noise: keep the simpler run."
    return f"{'B' if summary['gain'] > 0 else 'A'} is better, and by more than noise."


def columns(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of cells as aligned text; a Korean letter is two columns wide."""
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=True)).rstrip()


def width(text: str) -> int:
    """The columns that a text takes in a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def cut(text: str) -> str:
    """A text in one line of at most `SHOWN_WIDTH` columns, without signs that a terminal would obey."""
    text = "".join(c if c.isprintable() else " " for c in text)
    if width(text) <= SHOWN_WIDTH:
        return text
    while width(text) >= SHOWN_WIDTH:
        text = text[:-1]
    return text + "…"


def main() -> None:
    """Print a comparison."""
    parser = argparse.ArgumentParser(prog="python -m vqaflow.compare", description=__doc__)
    parser.add_argument("first", metavar="RUN_A", type=Path, help="a results folder")
    parser.add_argument("second", metavar="RUN_B", type=Path, help="another results folder")
    parser.add_argument("--out", type=Path, help="write all rows that flipped here, as CSV")
    given = parser.parse_args()
    with stage(None):
        found = compare(given.first, given.second)
        print("\n".join(describe(found)))
        if given.out is not None:
            with atomic_path(given.out) as partial:
                found.flips.to_csv(partial, index=False, lineterminator="\n")
            log.info("%d rows in %s", len(found.flips), given.out)


if __name__ == "__main__":
    main()
