"""Made-up rows for models without a processor: token ids, positions, patches."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from vqaflow.artifacts.columns import LETTERS
from vqaflow.artifacts.rows import Row
from vqaflow.bench.random_base import library_config
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, mrope_positions
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.plan.shape import Shape

# A Korean question with four choices: 164 text tokens, of which the choices and what follows them take 64.
BEFORE_IMAGE, AFTER_IMAGE, BRANCH = 20, 80, 64
GRID = (1, 48, 64)  # 672 x 896 pixels: 768 visual tokens
SMALL_GRID = (1, 8, 8)
MERGE = 2


class MadeRows:
    """Rows with one image each, for models of `shape`."""

    def __init__(self, shape: Shape, small: bool = False) -> None:
        self.shape = shape
        self.grid = SMALL_GRID if small else GRID
        self.image_token = library_config(shape).image_token_id
        self.letter_ids = [64, 65, 66, 67]
        self.patches = self.grid[1] * self.grid[2]
        self.visual = self.patches // MERGE**2

    def __str__(self) -> str:
        text = BEFORE_IMAGE + AFTER_IMAGE + BRANCH
        return f"{self.visual} visual and {text} text tokens, {BRANCH} of them again for each choice order"

    def tokens(self, orders: int) -> int:
        """Tokens of a row in one pass."""
        return self.visual + BEFORE_IMAGE + AFTER_IMAGE + orders * BRANCH

    def rows(self, count: int) -> list[Row]:
        """`count` rows as the tables hold them, each with an image of its own."""
        ids, choices = [f"made_{i}" for i in range(count)], ("-",) * 4
        return [Row(id, "?", choices, "general", "made", id, 1, 1, LETTERS[i % 4]) for i, id in enumerate(ids)]

    @lru_cache(maxsize=256)  # noqa: B019 - lives as long as the benchmark
    def encoded(self, number: int, orders: int) -> EncodedRow:
        """The encoding of row `number` in `orders` choice orders."""
        draw = torch.Generator().manual_seed(number)

        def text(length: int) -> list[int]:
            return torch.randint(self.shape.vocabulary // 2, (length,), generator=draw).tolist()

        prefix = text(BEFORE_IMAGE) + [self.image_token] * self.visual + text(AFTER_IMAGE)
        positions = mrope_positions(len(prefix), BEFORE_IMAGE, self.grid, MERGE)
        branches = [text(BRANCH) for _ in range(orders)]
        return EncodedRow(f"made_{number}", prefix, branches, positions, int(positions.max()) + 1, self.grid)

    def pixels(self, count: int) -> list[torch.Tensor]:
        """Patches (h·w, 1176) of `count` images."""
        draw = torch.Generator().manual_seed(1)
        return [torch.randn(self.patches, 1176, generator=draw) for _ in range(count)]


class MadeEncoder:
    """Stands in for RowEncoder."""

    def __init__(self, made: MadeRows) -> None:
        self.made, self.image_token, self.letter_ids = made, made.image_token, made.letter_ids

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> EncodedRow:
        """The made encoding of a made row."""
        return self.made.encoded(int(row.id.rpartition("_")[2]), len(orders))


class MadeFeatures:
    """Stands in for FeatureCache: features kept in the host's memory, or computed in every step."""

    def __init__(self, base: Base, made: MadeRows, cached: bool) -> None:
        self.base, self.made, self.view, self.cached = base, made, ViewConfig(), cached
        self.kept = torch.randn(made.visual, made.shape.hidden).to(base.dtype)
        self.pixels = made.pixels(1)[0]

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, H) of each row on the device."""
        if self.cached:
            return [self.kept.to(self.base.device, non_blocking=True) for _ in items]
        grids = [encoded.grid for _, encoded in items]
        return finite_features(self.base.visual, [self.pixels] * len(items), grids, [row for row, _ in items])
