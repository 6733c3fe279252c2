"""Reading results/scores: which file is what, and its logits as one array, checked to be complete.

Shapes: N rows of the table, R scored rows, L lines of a score file (one per row and order),
K choice orders, C choices of the table in their original letters. The logit of a choice that a row lacks is -inf.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from vqaflow.artifacts.columns import ALL_LETTERS, LOGIT, logit_columns
from vqaflow.artifacts.parquet_files import READ_ERRORS, read_schema, read_slice, write_parquet
from vqaflow.artifacts.parts import ORIGINAL, PART, part_order
from vqaflow.artifacts.reading import damaged, letters_of_table
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

PLACE = re.compile(rf"(?P<member>[^/]+)/(?P<split>oof|test)/fold(?P<part>{PART})/(?P<view>[^/]+)\.parquet$")
TRANSCRIPT = "transcript"  # the column of views that read: what the base read in the row's image
ABOUT = b"vqaflow"  # the entry of a score file's metadata that says what was scored, and with what


@dataclass(frozen=True)
class ScoreFile:
    """One file of scores and what its path says about it; artifacts/parts.py says what a part is."""

    member: str
    split: str
    part: str
    view: str
    path: Path


@dataclass(frozen=True)
class Logits:
    """One file's logits: `present_N` says which of the table's rows it has, `logits_NKC` holds them.

    They are NaN for a row that is not there, and -inf for a choice that a row lacks.
    """

    orders: tuple[str, ...]
    present_N: np.ndarray
    logits_NKC: np.ndarray

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of the choices C."""
        return ALL_LETTERS[: self.logits_NKC.shape[2]]


def score_file(path: Path | str) -> ScoreFile:
    """Take member, split, part and view from a path that ends in {member}/{oof|test}/fold{part}/{view}.parquet."""
    match = PLACE.search(Path(path).as_posix())
    if match is None:
        raise UserError(
            f"{path}: is not the path of a score file. Name it like scores/main/oof/fold0/original.parquet."
        )
    return ScoreFile(match["member"], match["split"], match["part"], match["view"], Path(path))


def score_files(paths: Sequence[Path | str]) -> list[ScoreFile]:
    """All files by member, split, part and view. Raises UserError if two are of the same place, or if there is none."""
    files = sorted(map(score_file, paths), key=lambda f: (f.member, f.split, part_order(f.part), f.view))
    if len({(f.member, f.split, f.part, f.view) for f in files}) != len(files):
        raise UserError("scores: two files are of the same member, split, fold and view. Give one file for each.")
    if not files:
        raise UserError("scores: no file is given. Run the rule score_choices.")
    return files


def views_of(files: Sequence[ScoreFile]) -> list[str]:
    """The names of the views, the original first, then by name."""
    return sorted({f.view for f in files}, key=lambda view: (view != ORIGINAL, view))


def row_index(ids: Sequence[str] | pl.Series) -> pl.DataFrame:
    """Map ids to row numbers, for `read_logits`."""
    return pl.DataFrame({"id": pl.Series("id", ids, dtype=pl.String)}).with_row_index("row")


def read_logits(file: ScoreFile, index: pl.DataFrame) -> Logits:
    """Read one file for the rows of `index`.

    Raises UserError if the file is damaged; it names ids that are unknown or repeated, lack an order, or have logits
    that are neither finite nor -inf in all orders.
    """
    letters = letters_of_table(file.path, "score_choices", LOGIT)
    columns = logit_columns(letters)
    try:
        frame = read_slice(file.path, ["id", "order", *columns], 0, None)
    except READ_ERRORS as error:
        raise damaged(file.path, "score_choices", error) from None
    orders = sorted(frame["order"].unique().to_list())
    if bad := [order for order in orders if sorted(order) != list(letters)]:
        every = "".join(letters)
        raise UserError(f"{file.path}: order {bad[0]!r} is not an order of {every}. Score again (rule score_choices).")
    starts_L = (frame["id"] != frame["id"].shift(1)).fill_null(True)
    ids = frame.select("id").filter(starts_L)  # a row's orders mostly follow each other: far fewer to look up
    row = ids.join(index, on="id", how="left", maintain_order="left")["row"]
    if row.null_count():
        unknown = ids["id"].filter(row.is_null()).unique(maintain_order=True).to_list()
        raise UserError(
            f"{file.path}: has rows that do not belong in it: {some(unknown)}. They are not in the table, or are in "
            "another fold, on which this fold's adapter was trained. Score again (rule score_choices)."
        )
    row_L = row.to_numpy()[np.cumsum(starts_L.to_numpy()) - 1]
    order_L = frame["order"].cast(pl.Enum(orders)).to_physical().to_numpy()
    logits_NKC = np.full((len(index), len(orders), len(letters)), np.nan, np.float32)
    for letter, column in enumerate(columns):
        logits_NKC[row_L, order_L, letter] = frame[column].to_numpy()
    count_N = np.bincount(row_L, minlength=len(index))
    _check_rows(file, index, logits_NKC, count_N)
    return Logits(tuple(orders), count_N > 0, logits_NKC)


def read_transcripts(file: ScoreFile) -> dict[str, str]:
    """What was read in the image of each row of a file, by the row's id; empty if its view does not read."""
    try:
        if TRANSCRIPT not in read_schema(file.path).names:
            return {}
        frame = read_slice(file.path, ["id", TRANSCRIPT], 0, None).unique("id", maintain_order=True)
    except READ_ERRORS as error:
        raise damaged(file.path, "score_choices", error) from None
    return dict(frame.iter_rows())


def _check_rows(file: ScoreFile, index: pl.DataFrame, logits_NKC: np.ndarray, count_N: np.ndarray) -> None:
    """Raise UserError unless each row that the file has comes in each order once, with logits of the same choices."""
    orders = logits_NKC.shape[1]
    finite_N = np.isfinite(np.einsum("nkc->n", logits_NKC, dtype=np.float64))  # any NaN or infinity spoils the sum
    others = np.flatnonzero((count_N > 0) & ~finite_N)
    finite_N[others] = _lack_choices(logits_NKC[others])
    uneven_N = (count_N > 0) & (count_N != orders)
    for wrong_N, what in (
        (uneven_N, f"do not have each of the {orders} orders once"),
        ((count_N > 0) & ~uneven_N & ~finite_N, "have a repeated order or a logit that is not a finite number"),
    ):
        if wrong_N.any():
            ids = index["id"].gather(np.flatnonzero(wrong_N)).to_list()
            raise UserError(f"{file.path}: rows {some(ids)} {what}. Score again (rule score_choices).")


def _lack_choices(logits_NKC: np.ndarray) -> np.ndarray:
    """Which rows (N) only lack choices: -inf for the same ones in all orders, and at least two finite logits."""
    lacks_NKC = np.isneginf(logits_NKC)
    alike_N = (lacks_NKC == lacks_NKC[:, :1]).all((1, 2))
    return alike_N & (lacks_NKC | np.isfinite(logits_NKC)).all((1, 2)) & ((~lacks_NKC).any(1).sum(1) > 1)


def check_complete(
    files: Sequence[ScoreFile], present: Sequence[np.ndarray], index: pl.DataFrame, main: str = ORIGINAL
) -> None:
    """Raise UserError unless each row of `index` is in a view of `files` (one fold), and in the main one if scored."""
    for file, present_N in zip(files, present, strict=True):
        if file.view == main and not present_N.all():
            _raise_missing(f"{file.path}", index, present_N)
    present_N = np.any(present, axis=0)
    if not present_N.all():
        _raise_missing(f"{files[0].path.parent}", index, present_N)


def _raise_missing(where: str, index: pl.DataFrame, present_N: np.ndarray) -> None:
    ids = index["id"].gather(np.flatnonzero(~present_N)).to_list()
    raise UserError(f"{where}: has no scores for rows {some(ids)}. Score again (rule score_choices).")


def empty_scores(letters: Sequence[str]) -> pd.DataFrame:
    """A table of scores without rows, its columns typed, for a table with these letters."""
    return scores_frame([], (), np.empty((0, 0, len(letters)), np.float32))


def write_scores(scores: pd.DataFrame, about: Mapping[str, str | None], out: Path) -> None:
    """Write `scores`, with what was scored and with what in the file's metadata."""
    table = pa.Table.from_pandas(scores, preserve_index=False)
    entry = {ABOUT: json.dumps(about, sort_keys=True).encode()}
    write_parquet(table.replace_schema_metadata({**table.schema.metadata, **entry}), out)


def read_about(path: Path) -> dict[str, str | None]:
    """What a score file's metadata say of it. Raises UserError if it is damaged or has none."""
    try:
        return json.loads(read_schema(path).metadata[ABOUT])
    except (*READ_ERRORS, TypeError) as error:
        raise damaged(path, "score_choices", error) from None


def scores_frame(ids: Sequence[str], orders: Sequence[str], logits_RKC: np.ndarray) -> pd.DataFrame:
    """One row per (id, order) with the logits of the original letters."""
    frame = pd.DataFrame(
        {
            "id": pd.Series(np.repeat(np.array(ids, dtype=object), len(orders)), dtype="str"),
            "order": pd.Series(list(orders) * len(ids), dtype="str"),
        }
    )
    choices = logits_RKC.shape[2]
    frame[logit_columns(ALL_LETTERS[:choices])] = logits_RKC.reshape(-1, choices).astype(np.float32)
    return frame
