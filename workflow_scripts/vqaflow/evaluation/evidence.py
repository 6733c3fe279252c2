"""What evaluate_oof reads: the ensemble's and the members' answers to the same rows, scores, and training logs.

Shapes: N rows of the training table, T test rows, S sources (views of all members), C choices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from vqaflow.artifacts.adapter_files import FILES, RUN, check_log
from vqaflow.artifacts.choices import OWN, own_letters, read_with_letters
from vqaflow.artifacts.columns import ALL_LETTERS, PEOPLE, PROBABILITY, SOURCE, probability_columns, share_columns
from vqaflow.artifacts.reading import columns_in, letters_of_table, read_json, read_table, require_file
from vqaflow.artifacts.results_folder import MemberFolder
from vqaflow.artifacts.rows import shares_in
from vqaflow.artifacts.score_files import ScoreFile, read_transcripts, score_files
from vqaflow.ensemble.recipe_file import RECIPE_KEYS
from vqaflow.ensemble.sources import Member, Oof, read_members, read_oof, sources_of
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import some

# The user's other columns are not read: one called p_a or right would clash with what is added here.
EVALUATED_COLUMNS = ["id", "image_file", "question", "answer", "sha256", "qtype"]  # and those of the choices
OPTIONAL_COLUMNS = [SOURCE, PEOPLE, *share_columns(ALL_LETTERS)]
LOG_COLUMNS = ["step", "epoch", "loss", "accuracy", "learning_rate", "val_accuracy"]
NOTE_KEYS = ["name", "kind", "views", "parts", "seeds", "refit", "order_pooling", "note", "minutes"]
Namer = Callable[[str, str], str]


def namer(members: Sequence[str]) -> Namer:
    """How things of a member are called in metrics.json and figures: with only one member, its name is left out."""
    return (lambda member, name: f"{member}/{name}") if len(members) > 1 else (lambda _, name: name)


@dataclass(frozen=True)
class Answers:
    """What a member says: its note (member.json), and the probabilities of OOF rows and of test rows."""

    note: Mapping[str, Any]
    oof_NC: np.ndarray
    test_TC: np.ndarray


@dataclass(frozen=True)
class Training:
    """The log of an adapter's training (None if there is none), its `train.keep`, and its label mass, if known."""

    history: pd.DataFrame | None
    keep: str | None
    label_mass: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Evidence:
    """All that is measured: `rows` are those of `read_oof_rows`, `recipe` is recipe.json, `oof` has all sources.

    `test_rows` are the test rows (id, own letters). `trainings` are by member and folder (`fold0`); `files` are the
    score files of OOF rows, `blind_files` those of blind views, which take no part in any answer.
    """

    rows: pd.DataFrame
    recipe: Mapping[str, Any]
    members: list[Member]
    answers: dict[str, Answers]
    oof: Oof
    test_rows: pl.DataFrame
    files: list[ScoreFile]
    blind_files: list[ScoreFile]
    trainings: dict[tuple[str, str], Training]

    @property
    def named(self) -> Namer:
        """How things of a member are called."""
        return namer(list(self.answers))


def read_evidence(
    *,
    oof: Path,
    recipe: Path,
    members: Sequence[Path],
    scores: Sequence[Path],
    adapters: Sequence[Path],
    train_table: Path,
    test_table: Path,
    folds: Path,
) -> Evidence:
    """Read everything. Raises UserError if a file is missing, damaged or of other rows."""
    rows = read_oof_rows(oof, train_table, folds)
    test = read_with_letters(test_table, ["id"])
    found = read_members(members)
    logp_NSC = read_oof(found, pl.from_pandas(rows[["id", "fold", OWN]]))
    answers = {
        member.name: read_answers(MemberFolder(folder), rows["id"], test)
        for member, folder in zip(found, members, strict=True)
    }
    blind = {(name, view) for name, one in answers.items() for view in blind_views(one.note)}
    files = [file for file in score_files(scores) if file.split == "oof"] if scores else []
    return Evidence(
        rows,
        read_json(recipe, "ensemble_probabilities", RECIPE_KEYS),
        found,
        answers,
        Oof(sources_of(found), logp_NSC, rows["answer_index"].to_numpy(), rows["group"].to_numpy(), shares_in(rows)),
        test,
        [file for file in files if (file.member, file.view) not in blind],
        [file for file in files if (file.member, file.view) in blind],
        read_trainings(adapters),
    )


def blind_views(note: Mapping[str, Any]) -> list[str]:
    """The blind views of a member, by its member.json; a file's member has no views."""
    return [view for view, settings in note.get("shown", {}).items() if settings.get("blind")]


def read_oof_rows(oof: Path, train_table: Path, folds: Path) -> pd.DataFrame:
    """The `EVALUATED_COLUMNS`, the choices, those of `OPTIONAL_COLUMNS` that there are, and what is found of each row.

    That is p_a, …, fold, group, own letters, answer_index, predicted, right, confidence and margin.
    """
    letters = letters_of_table(train_table, "validate_tables")
    names = probability_columns(letters)
    more = columns_in(train_table, "validate_tables", OPTIONAL_COLUMNS)
    table = read_table(train_table, "validate_tables", [*EVALUATED_COLUMNS, *letters, *more])
    table[OWN] = own_letters(table)
    probabilities = read_table(oof, "ensemble_probabilities", ["id", *names])
    assigned = read_table(folds, "make_folds", ["id", "fold", "group"])
    if alone := sorted(set(table["id"]) ^ set(probabilities["id"])):
        raise UserError(
            f"{oof}: rows {some(alone)} are only in this file or only in {train_table}. Run the rules again."
        )
    rows = table.merge(probabilities, on="id", how="left").merge(assigned, on="id", how="left")
    p_NC = rows[names].to_numpy()
    ordered_NC = np.sort(p_NC, axis=1)
    rows["answer_index"] = rows["answer"].map(ALL_LETTERS.index)
    rows["predicted"] = p_NC.argmax(1)
    rows["right"] = rows["predicted"] == rows["answer_index"]
    rows["confidence"] = ordered_NC[:, -1]
    rows["margin"] = ordered_NC[:, -1] - ordered_NC[:, -2]
    return rows


def read_answers(place: MemberFolder, train_ids: pd.Series, test: pl.DataFrame) -> Answers:
    """The folder of a member. Raises UserError if it is damaged or of other rows."""
    note = read_json(place.note, "pool_member", NOTE_KEYS)
    oof_NC = _probabilities(place.answers("oof"), list(train_ids))
    test_NC = _probabilities(place.answers("test"), list(test["id"]))
    return Answers(note, oof_NC, test_NC)


def _probabilities(path: Path, ids: Sequence[str]) -> np.ndarray:
    """The probabilities (N, C) in a file, whose rows must be `ids`."""
    names = probability_columns(letters_of_table(path, "pool_member", PROBABILITY))
    table = read_table(path, "pool_member", ["id", *names])
    if list(table["id"]) != list(ids):
        raise UserError(
            f"{path}: its rows are not those of the table, in the table's order. Run the rule pool_member again."
        )
    return table[names].to_numpy()


def read_trainings(adapters: Sequence[Path]) -> dict[tuple[str, str], Training]:
    """What is known of each adapter's training (log.csv, run.json), by its member and its folder's name.

    A member's adapters that come from elsewhere may have neither, or a run.json without digests.
    """
    found = {}
    trained = {folder.parent for folder in adapters if (folder / RUN).exists()}
    for folder in sorted(adapters):
        log, run = folder / "log.csv", folder / RUN
        if log.exists() or folder.parent in trained:
            require_file(run, "train_adapter")
        told = read_json(run, "train_adapter", ["train"]) if run.exists() else {"train": {}}
        promised = told.get(FILES)
        if isinstance(promised, dict) and log.name in promised:
            require_file(log, "train_adapter")
        check_log(log)
        history = pd.read_csv(log).reindex(columns=LOG_COLUMNS) if log.exists() else None
        found[folder.parent.name, folder.name] = Training(history, told["train"].get("keep"), told.get("label_mass"))
    return found


def transcripts(files: Sequence[ScoreFile], named: Namer) -> dict[str, dict[str, str]]:
    """What each view that reads has read, by the rows' ids; the base reads alike for all seeds."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        if texts := read_transcripts(file):
            found.setdefault(named(file.member, file.view), {}).update(texts)
    return found
