"""The artifacts of a results folder, read for the checks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from vqaflow.artifacts.columns import PROBABILITIES
from vqaflow.artifacts.reading import read_json, read_table
from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.artifacts.score_files import ScoreFile, score_files

RECIPE_KEYS = ["chosen", "order_pooling", "pooling", "learned", "position_prior", "nested.right"]
RECIPE_KEYS += ["calibration.method", "calibration.learned"]


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
    def scores(self) -> list[ScoreFile]:
        """The score files, described by their paths."""
        return score_files(self.at.all_scores())

    def ensemble(self, split: str) -> pd.DataFrame:
        """The probabilities of a split, oof or test."""
        columns = ["id", *PROBABILITIES, *(["fold"] if split == "oof" else [])]
        return read_table(self.at.probabilities(split), "ensemble_probabilities", columns)

    @property
    def recipe(self) -> dict[str, Any]:
        """What ensemble_probabilities chose and learned."""
        return read_json(self.at.recipe, "ensemble_probabilities", RECIPE_KEYS)

    @property
    def overall(self) -> dict[str, Any]:
        """The OOF accuracy in metrics.json."""
        keys = [f"overall.{key}" for key in ("right", "n", "wilson")]
        return read_json(self.at.metrics, "evaluate_oof", keys)["overall"]
