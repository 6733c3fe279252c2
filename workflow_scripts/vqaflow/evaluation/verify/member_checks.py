"""Checks of the scores, and of what each member makes of them.

Shapes: N rows, V views, C choices.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.adapter_files import adapter_digest
from vqaflow.artifacts.columns import probabilities_in
from vqaflow.artifacts.parts import BASE, fold_of
from vqaflow.artifacts.reading import require_file
from vqaflow.artifacts.rows import all_asked, rows_of
from vqaflow.artifacts.score_files import ScoreFile, check_complete, read_about, read_logits, row_index
from vqaflow.ensemble.pool_member import from_scores, mean_of_parts, mean_of_views
from vqaflow.ensemble.sources import Member, ViewsOfTest, read_members, read_oof
from vqaflow.evaluation.verify.results import Note, Results
from vqaflow.runtime.digests import value_digest
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

TOLERANCE = 1e-6  # of numbers that are computed again: other versions of numpy may round differently
AGAIN = "Run the rule pool_member again."


# --- scores ---


def check_scores(results: Results) -> str:
    """Each member has finite scores of all rows that it must score, and no others, made by its adapter."""
    digests: dict[tuple[str, bytes], str] = {}
    files = orders = 0
    for note in results.notes:
        for split in ("oof", "test"):
            for part in note.scored_parts(split):
                here = results.scores(note, split, part)
                orders += check_part(results, here, split, part, note.main_view, digests)
                files += len(here)
    return f"{files} files, {orders:,} scored orders, each OOF row by an adapter that did not see it"


def check_part(
    results: Results, files: list[ScoreFile], split: str, part: str, main: str, digests: dict[tuple[str, bytes], str]
) -> int:
    """The number of scored orders of one part, of which the view `main` has every row.

    `digests` keeps those of rows that several files score.
    """
    ids, fold = results.test["id"], fold_of(part)
    if split == "oof":
        ids = results.folds["id"] if fold is None else results.folds["id"][results.folds["fold"] == fold]
    for file in files:
        require_file(file.path, "score_choices")
    index, wanted = row_index(ids.tolist()), ids.to_numpy()
    loaded = [read_logits(file, index) for file in files]
    check_complete(files, [logits.present_N for logits in loaded], index, main)
    for file, logits in zip(files, loaded, strict=True):
        check_origin(results, file, set(wanted[logits.present_N]), digests)
    return sum(int(logits.present_N.sum()) * len(logits.orders) for logits in loaded)


def check_origin(results: Results, file: ScoreFile, ids: set[str], digests: dict[tuple[str, bytes], str]) -> None:
    """Raise UserError unless a file says that it was made of these rows, by the adapter that is there."""
    about, again = read_about(file.path), f"Delete {file.path} and score again (rule score_choices)."
    adapter = None if file.part == BASE else adapter_digest(results.at.adapter(file.member, file.part))
    if about["adapter"] != adapter:
        raise UserError(f"{file.path}: it was made by another adapter than {whose(results, file)}. {again}")
    table = results.train if file.split == "oof" else results.test
    mine_N = table["id"].isin(ids).to_numpy()
    key = (file.split, np.packbits(mine_N).tobytes())
    if key not in digests:
        digests[key] = value_digest(all_asked(rows_of(table[mine_N])))
    if about["rows"] != digests[key]:
        raise UserError(f"{file.path}: it was made of rows that have changed since, or of others. {again}")


def whose(results: Results, file: ScoreFile) -> str:
    """What a file must have been made by, in words."""
    return "none (the untuned base)" if file.part == BASE else f"{results.at.adapter(file.member, file.part)}"


# --- members ---


def check_members(results: Results) -> str:
    """What each member says follows from its scores; of someone's files it is checked to agree with itself."""
    said = []
    for name in results.members:
        note = results.note(name)
        place = results.at.member(name)
        require_note(place.note, note)
        (member,) = read_members([place.folder])
        oof_NVC, test = read_views(results, member)
        files = [
            file
            for split in ("oof", "test")
            for part in note.scored_parts(split)
            for file in results.scores(note, split, part)
        ]
        if files:
            made = from_scores(files, results.rows, note.said["order_pooling"], note.main_view)
            require_equal(place.views("oof"), results.rows.oof["id"], oof_NVC, made.oof_NVC)
            for part, logp_NVC in made.test.items():
                require_equal(place.views("test"), results.rows.test["id"], test[part], logp_NVC)
        check_answers(results, name, oof_NVC, test)
        said.append(f"{name} ({note.said['kind']}{'' if files else ', its origin is not checked'})")
    return f"{', '.join(said)}: their probabilities follow from their scores"


def require_note(path: Path, note: Note) -> None:
    """Raise UserError unless member.json is of this member and of these folds."""
    if note.said["name"] != note.name:
        raise UserError(f"{path}: it is of another member, {note.said['name']}. {AGAIN}")
    if sorted(note.said["parts"]) != sorted(note.parts):
        raise UserError(
            f"{path}: its parts are {', '.join(note.said['parts'])}, but must be {', '.join(note.parts)}. {AGAIN}"
        )


def read_views(results: Results, member: Member) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A member's log-probabilities of OOF rows (N, V, C), and of test rows by part."""
    oof_NVC = read_oof([member], results.rows.oof)
    views = ViewsOfTest([member], results.rows.test)
    return oof_NVC, {part: views.read({member.name: part}).copy() for part in member.parts}


def require_equal(path: Path, ids: pl.Series, found_NVC: np.ndarray, made_NVC: np.ndarray) -> None:
    """Raise UserError unless numbers are those that the scores make."""
    with np.errstate(invalid="ignore"):
        off_N = ~np.isclose(found_NVC, made_NVC, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True).all((1, 2))
    if off_N.any():
        rows = some(ids.filter(pl.Series(off_N)).to_list())
        raise UserError(f"{path}: rows {rows} do not follow from the scores. {AGAIN}")


def check_answers(results: Results, member: str, oof_NVC: np.ndarray, test: Mapping[str, np.ndarray]) -> None:
    """Raise UserError unless the member's own probabilities are the plain means of its views, folds and seeds."""
    test_NC = mean_of_parts({part: mean_of_views(logp_NVC) for part, logp_NVC in test.items()})
    made = {"oof": mean_of_views(oof_NVC), "test": test_NC}
    tables: dict[str, pd.DataFrame] = {"oof": results.train, "test": results.test}
    for split, p_NC in made.items():
        answers, path = results.member_answers(member, split), results.at.member(member).answers(split)
        if list(answers["id"]) != list(tables[split]["id"]):
            raise UserError(f"{path}: its ids are not those of the table, in the table's order. {AGAIN}")
        off_N = ~(np.abs(answers[probabilities_in(answers)].to_numpy() - p_NC) <= TOLERANCE).all(1)
        if off_N.any():
            raise UserError(f"{path}: rows {some(list(answers['id'][off_N]))} are not the mean of its views. {AGAIN}")
