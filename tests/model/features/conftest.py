"""A base with its encoder and rows with images, and what the tower is asked for."""

from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import rows
import scoring_world
from vqaflow.artifacts.rows import rows_of
from vqaflow.model.base import Base, load_base
from vqaflow.model.encoding.row_encoder import RowEncoder
from vqaflow.model.features import cache as feature_cache
from vqaflow.model.features.cache import FeatureCache
from vqaflow.model.features.folder import FeatureFolder


class FeatureWorld:
    """A base with its encoder, and rows with their encodings."""

    def __init__(self, folder: Path) -> None:
        settings = rows.model_config(base=str(scoring_world.save_base(folder / "base")))
        self.base: Base = load_base(settings)
        self.encoder = RowEncoder(self.base.processor, settings, rows.prompt_config())
        table: pd.DataFrame = scoring_world.make_table(folder / "images", 5)
        self.items = [(row, self.encoder.encode(row, ["abcd"], rows.VIEW)) for row in rows_of(table)]

    def but(self, **parts: Any) -> "FeatureWorld":
        """A copy with other parts."""
        other = copy(self)
        vars(other).update(parts)
        return other

    def folder(self, root: Path) -> FeatureFolder:
        """Features on disk under `root`, as a job opens them."""
        return FeatureFolder(root, self.base, self.encoder, rows.VIEW)

    def cache(self, mode: str, root: Path) -> FeatureCache:
        """Features of a training."""
        return FeatureCache(self.base, self.encoder, rows.VIEW, mode, root)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> FeatureWorld:
    """One for the module."""
    return FeatureWorld(tmp_path_factory.mktemp("world"))


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """Images in each call of the tower."""
    seen: list[int] = []
    real = feature_cache.finite_features

    def noted(compute, visual, pixels, *rest) -> list[torch.Tensor]:
        seen.append(len(pixels))
        return real(compute, visual, pixels, *rest)

    monkeypatch.setattr(feature_cache, "finite_features", noted)
    return seen
