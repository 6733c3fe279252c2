"""Made-up rows for models without a processor: token ids, positions, patches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from vqaflow.artifacts.columns import ALL_LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.pictures import Picture
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, mrope_positions
from vqaflow.model.features.host_memory import HostMemory
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.plan.shape import Shape, library_config

# A Korean question with four choices: 164 text tokens, of which the choices and what follows them take 64.
BEFORE_IMAGE, AFTER_IMAGE, BRANCH = 20, 80, 64
VISUAL, SMALL_VISUAL = 768, 16
HEIGHT = 0.75  # of an image's width, as nearly as the number of visual tokens allows


class MadeRows:
    """Rows with one image of `visual` tokens each, for models of a config.json."""

    def __init__(self, config: Mapping[str, Any], visual: int = VISUAL) -> None:
        self.config, self.shape, self.visual = config, Shape.of(config), visual
        vision, merge = library_config(config).vision_config, self.shape.merge
        rows = min((n for n in range(1, visual + 1) if visual % n == 0), key=lambda n: _skew(n, visual // n))
        self.grid = (1, rows * merge, visual // rows * merge)
        self.patches = visual * merge**2
        self.values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2  # of one patch
        self.image_token = library_config(config).image_token_id
        self.letter_ids = [64, 65, 66, 67]

    def __str__(self) -> str:
        text = BEFORE_IMAGE + AFTER_IMAGE + BRANCH
        return f"{self.visual} visual and {text} text tokens, {BRANCH} of them again for each choice order"

    def tokens(self, orders: int) -> int:
        """Tokens of a row in one pass."""
        return self.visual + BEFORE_IMAGE + AFTER_IMAGE + orders * BRANCH

    def rows(self, count: int) -> list[Row]:
        """`count` rows as the tables hold them, each with an image of its own."""
        ids, choices = [f"made_{i}" for i in range(count)], ("-",) * len(self.letter_ids)
        return [
            Row(id, "?", choices, "general", "made", id, 1, 1, ALL_LETTERS[i % len(choices)])
            for i, id in enumerate(ids)
        ]

    @lru_cache(maxsize=256)  # noqa: B019 - lives as long as the benchmark
    def encoded(self, number: int, orders: int) -> EncodedRow:
        """The encoding of row `number` in `orders` choice orders."""
        draw = torch.Generator().manual_seed(number)

        def text(length: int) -> list[int]:
            return torch.randint(self.shape.vocabulary // 2, (length,), generator=draw).tolist()

        prefix = text(BEFORE_IMAGE) + [self.image_token] * self.visual + text(AFTER_IMAGE)
        positions = mrope_positions(len(prefix), [BEFORE_IMAGE], [self.grid], self.shape.merge)
        branches = [text(BRANCH) for _ in range(orders)]
        return EncodedRow(f"made_{number}", prefix, branches, positions, int(positions.max()) + 1, (self.grid,))

    def pixels(self, count: int) -> list[torch.Tensor]:
        """Patches (h·w, values of a patch) of `count` images."""
        draw = torch.Generator().manual_seed(1)
        return [torch.randn(self.patches, self.values, generator=draw) for _ in range(count)]

    def features(self, count: int, draw: torch.Generator | None = None) -> list[torch.Tensor]:
        """Made-up features (visual tokens, (1 + levels) x H) of `count` images."""
        width = (1 + self.shape.levels) * self.shape.hidden
        return [torch.randn(self.visual, width, generator=draw) for _ in range(count)]


def _skew(rows: int, columns: int) -> float:
    """How far an image of so many rows and columns is from HEIGHT."""
    return abs(math.log(rows / columns / HEIGHT))


class MadeEncoder:
    """Stands in for RowEncoder."""

    def __init__(self, made: MadeRows) -> None:
        self.made, self.image_token, self.letter_ids = made, made.image_token, made.letter_ids

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> EncodedRow:
        """The made encoding of a made row."""
        encoded = self.made.encoded(int(row.id.rpartition("_")[2]), len(orders))
        return replace(encoded, pictures=(Picture(row.width, row.height),), keys=(row.sha256,))


class MadeFeatures:
    """Stands in for FeatureCache: features kept in the host's memory, or computed in every step.

    The patches to compute them from are on the device, as those of the other recipes are.
    """

    def __init__(self, base: Base, made: MadeRows, cached: bool) -> None:
        self.base, self.made, self.view, self.cached = base, made, ViewConfig(), cached
        self.kept = HostMemory(base.device).keep(made.features(1)[0].to(base.dtype))
        self.pixels = made.pixels(1)[0].to(base.device)

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, (1 + levels) x H) of each row on the device."""
        if self.cached:
            return [self.kept.to(self.base.device, non_blocking=True) for _ in items]
        grids = [encoded.grid for _, encoded in items]
        compute, rows = self.base.family.features, [row for row, _ in items]
        assert compute is not None, "made rows are for families with a shared prefix"
        return finite_features(compute, self.base.visual, [self.pixels] * len(items), grids, rows)
