"""The artifacts of a results folder, read for the checks."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import PROBABILITY, probability_columns
from vqaflow.artifacts.parts import ALL, BASE, FILE, ORIGINAL, trained_part
from vqaflow.artifacts.reading import letters_of_table, read_json, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.score_files import ScoreFile, score_file
from vqaflow.config.members import FOREIGN, TUNED
from vqaflow.ensemble.pool_member import Rows, Tables, read_rows
from vqaflow.ensemble.recipe_file import RECIPE_KEYS
from vqaflow.runtime.errors import UserError

NOTE_KEYS = ["name", "kind", "views", "parts", "seeds", "refit", "order_pooling", "minutes"]


@dataclass(frozen=True)
class Note:
    """What the member.json of the member `name` says; `folds` are those of folds.parquet."""

    name: str
    said: dict[str, Any]
    folds: list[int]

    @property
    def main_view(self) -> str:
        """The view that must have every row."""
        return self.said.get("main_view", ORIGINAL)

    @property
    def parts(self) -> list[str]:
        """The parts, without seeds, that the member must have answers of test rows from."""
        if self.said["kind"] != TUNED:
            return [FILE if self.said["kind"] == FOREIGN else BASE]
        return [*map(str, self.folds), *([ALL] if self.said["refit"] else [])]

    def scored_parts(self, split: str) -> list[str]:
        """The parts, with seeds, that must have scores of a split, oof or test."""
        if self.said["kind"] == FOREIGN:
            return []
        parts = [part for part in self.parts if (split, part) != ("oof", ALL)]
        seeds = self.said["seeds"] or [None]
        return [trained_part(part, seed) for part in parts for seed in seeds]

    @property
    def adapters(self) -> list[str]:
        """The parts, with seeds, that must have an adapter."""
        return self.scored_parts("test") if self.said["kind"] == TUNED else []


@dataclass(frozen=True)
class Results:
    """The artifacts of a results folder, read when a check needs them; tables are read once."""

    at: ResultsFolder

    @cached_property
    def train(self) -> pd.DataFrame:
        """The training table."""
        return read_table(self.at.table("train"), "validate_tables")

    @cached_property
    def test(self) -> pd.DataFrame:
        """The test table."""
        return read_table(self.at.table("test"), "validate_tables")

    @cached_property
    def folds(self) -> pd.DataFrame:
        """id, fold and group of the training rows."""
        return read_table(self.at.folds, "make_folds", ["id", "fold", "group"])

    @cached_property
    def rows(self) -> Rows:
        """The rows that members answer."""
        return read_rows(Tables(self.at.table("train"), self.at.table("test"), self.at.folds, self.at.problems))

    @cached_property
    def members(self) -> list[str]:
        """The members that the ensemble has pooled; all that there are, if recipe.json cannot be read.

        A folder may still hold members that the configuration no longer names: these are not checked.
        """
        try:
            return [entry["name"] for entry in self.recipe["members"]]
        except UserError:  # the check of the ensemble says so
            return self.at.members()

    def note(self, member: str) -> Note:
        """What a member says of itself."""
        said = read_json(self.at.member(member).note, "pool_member", NOTE_KEYS)
        return Note(member, said, sorted(int(fold) for fold in self.folds["fold"].unique()))

    @cached_property
    def notes(self) -> list[Note]:
        """The notes of all members; those that cannot be read are left out, and the check of members names them."""
        found = []
        for member in self.members:
            with suppress(UserError):
                found.append(self.note(member))
        return found

    def scores(self, note: Note, split: str, part: str) -> list[ScoreFile]:
        """The score files that a member must have of a part."""
        return [score_file(self.at.scores(note.name, split, part, view)) for view in note.said["views"]]

    def ensemble(self, split: str) -> pd.DataFrame:
        """The probabilities of a split, oof or test."""
        path, rule = self.at.probabilities(split), "ensemble_probabilities"
        names = probability_columns(letters_of_table(path, rule, PROBABILITY))
        return read_table(path, rule, ["id", *names, *(["fold"] if split == "oof" else [])])

    def member_answers(self, member: str, split: str) -> pd.DataFrame:
        """A member's own probabilities of a split."""
        path, rule = self.at.member(member).answers(split), "pool_member"
        return read_table(path, rule, ["id", *probability_columns(letters_of_table(path, rule, PROBABILITY))])

    @property
    def recipe(self) -> dict[str, Any]:
        """What ensemble_probabilities chose and learned."""
        return read_json(self.at.recipe, "ensemble_probabilities", RECIPE_KEYS)

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json."""
        keys = [f"overall.{key}" for key in ("right", "n", "wilson")]
        return read_json(self.at.metrics, "evaluate_oof", [*keys, "members.each"])


def place_of(at: ResultsFolder, file: str) -> Path:
    """An image's file: a relative path starts where the workflow ran, above its results folder."""
    beside = at.folder.resolve().parent / file
    return beside if beside.is_file() else Path(file)
