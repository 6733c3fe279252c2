"""Rule show_answers: a gallery of the test answers, the least certain first, to be looked at before they are handed in.

Voters are what the answer was pooled from and may disagree: the members; with one member, its folds' adapters; with
neither, its views. `vqaflow show_answers` runs it by hand.

Shapes: T test rows, V views of a member, C choices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.choices import OWN, own_letters
from vqaflow.artifacts.columns import letters_in, probability_columns
from vqaflow.artifacts.csv_files import read_csv
from vqaflow.artifacts.reading import damaged, letters_of_table, read_table
from vqaflow.artifacts.score_files import score_files
from vqaflow.ensemble.pool_member import mean_of_views
from vqaflow.ensemble.sources import Member, ViewsOfTest, read_members
from vqaflow.evaluation.evidence import namer, transcripts
from vqaflow.evaluation.gallery.page import EXCERPT_LIMIT, LIMIT, TEST, Card, Gallery, write_gallery
from vqaflow.evaluation.mistakes import choice_texts
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some
from vqaflow.runtime.stage import log

COLUMNS = ["id", "image_file", "question", "sha256", "qtype"]  # and those of the choices
NO_VOTE = -1  # of a view that does not have the row


def show_answers(
    *, test: Path, test_table: Path, submission: Path, members: Sequence[Path], scores: Sequence[Path], out: Path
) -> None:
    """Write the page `out`, and beside it OUT_excerpt.html for Snakemake's report.

    `test` has the ensemble's probabilities of the rows of `test_table`; `members` are the folders of those that were
    pooled, and `scores` their files of test scores, which may hold what was read in images. Raises UserError if a file
    is damaged or of other rows.
    """
    rows = read_rows(test, test_table)
    labels = submitted(submission, rows["id"].tolist())
    found = read_members(members)
    votes = votes_of(found, pl.from_pandas(rows[["id", OWN]]))
    files = [file for file in score_files(scores) if file.split == "test"] if scores else []
    notes = transcript_notes(transcripts(files, namer([member.name for member in found])))
    kept = rows.sort_values(["confidence", "id"], kind="stable").index.to_numpy()
    records = pd.Series(list(map(list, zip(*record_columns(rows), strict=True))))
    cards = [
        Card(
            records[row],
            rows["sha256"][row],
            rows["image_file"][row],
            [int(vote_T[row]) for vote_T in votes.values()],
            labels[rows["id"][row]],
            notes.get(rows["id"][row], []),
        )
        for row in kept
    ]
    about = Gallery(
        TEST,
        "Test answers, least certain first",
        "Test answers",
        letters_in(rows),
        {"total": len(rows)},
        list(votes),
    )
    write_gallery(about, cards, {out: LIMIT, excerpt_of(out): EXCERPT_LIMIT}, "the least certain answers")
    log.info("%s: %d answers", out, len(rows))


def excerpt_of(page: Path) -> Path:
    """The page for Snakemake's report, which cannot hold a large one."""
    return page.with_name(f"{page.stem}_excerpt.html")


def read_rows(test: Path, test_table: Path) -> pd.DataFrame:
    """The test rows with their choices, own letters, probabilities, best letter (from 0) and its probability."""
    letters = letters_of_table(test_table, "validate_tables")
    rows = read_table(test_table, "validate_tables", [*COLUMNS, *letters])
    names = probability_columns(letters)
    pooled = read_table(test, "ensemble_probabilities", ["id", *names])
    if list(pooled["id"]) != list(rows["id"]):
        raise UserError(f"{test}: its rows are not those of {test_table}. Run the rule ensemble_probabilities again.")
    p_TC = pooled[names].to_numpy()
    return rows.assign(
        sha256=rows["sha256"].fillna(""),
        **{OWN: own_letters(rows), **dict(zip(names, p_TC.T, strict=True))},
        predicted=p_TC.argmax(1),
        confidence=p_TC.max(1),
    )


def record_columns(rows: pd.DataFrame) -> list[list]:
    """What the page's script reads of each row, by column; a test row has no fold, no right answer and no people."""
    nothing = [-1] * len(rows)
    shares_TC = rows[probability_columns(letters_in(rows))].to_numpy().round(4)
    texts = rows["id"].tolist(), rows["question"].tolist(), choice_texts(rows), rows["qtype"].tolist()
    return [*texts, nothing, nothing, rows["predicted"].tolist(), shares_TC.tolist(), [[]] * len(rows)]


def submitted(submission: Path, ids: Sequence[str]) -> dict[str, str]:
    """The answers by id, as the submission has them."""
    if not submission.is_file():
        raise UserError(f"{submission}: is missing. Run the rule write_submission.")
    if not submission.read_bytes().endswith(b"\n"):
        raise damaged(submission, "write_submission", ValueError("its last line is not whole"))
    _, rows = read_csv(submission)
    found = {cells[0]: cells[1] for cells in rows if len(cells) > 1}
    if missing := [row_id for row_id in ids if row_id not in found]:
        raise UserError(f"{submission}: has no answer for rows {some(missing)}. Run the rule write_submission again.")
    return found


def votes_of(members: Sequence[Member], rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """The letters (T, from 0) of each voter, by its name; none if there is only one."""
    if not len(rows):
        return {}
    if len(members) > 1:
        found = {member.name: best_of_member(member) for member in members}
    else:
        found = votes_of_one(members[0], ViewsOfTest(members, rows))
    return found if len(found) > 1 else {}


def best_of_member(member: Member) -> np.ndarray:
    """The letters (T) that a member finds most probable."""
    names = probability_columns(member.letters)
    path = member.folder / "test.parquet"
    return read_table(path, "pool_member", names).to_numpy().argmax(1)


def votes_of_one(member: Member, views: ViewsOfTest) -> dict[str, np.ndarray]:
    """The letters (T) of a member's folds, each the mean of its views; with fewer than two folds, of its views."""
    if len(member.folds) > 1:
        return {f"fold {fold}": mean_of_views(views.read({member.name: fold})).argmax(1) for fold in member.folds}
    logp_TVC = views.read({member.name: member.parts[0]})
    best_TV = np.nan_to_num(logp_TVC, nan=-np.inf).argmax(2)
    best_TV[np.isnan(logp_TVC[:, :, 0])] = NO_VOTE
    return dict(zip(member.views, best_TV.T, strict=True))


def transcript_notes(by_view: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """What was read in the images, as lines by the rows' ids."""
    notes: dict[str, list[str]] = {}
    for name, texts in by_view.items():
        for row_id, text in texts.items():
            notes.setdefault(row_id, []).append(f"{name} read: {text or '(nothing)'}")
    return notes
