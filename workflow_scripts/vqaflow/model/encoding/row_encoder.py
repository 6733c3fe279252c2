"""Rows become token ids, M-RoPE positions and image patches: the same encoder for training and scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from qwen_vl_utils import smart_resize
from qwen_vl_utils.vision_process import fetch_image

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.model.encoding.prompts import NO_THINKING, PromptRenderer
from vqaflow.runtime.errors import UserError


@dataclass(frozen=True)
class EncodedRow:
    """One row, ready to be packed: a prefix of P tokens and K branches.

    `prefix_positions` is (3, P), M-RoPE's temporal, height and width positions; the tokens of each branch
    start at `next_position`. `grid` is the image's (t, h, w) in patches.
    """

    id: str
    prefix_ids: list[int]
    branch_ids: list[list[int]]
    prefix_positions: torch.Tensor
    next_position: int
    grid: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """Tokens of the row in one shared-prefix pass."""
        return len(self.prefix_ids) + sum(map(len, self.branch_ids))


class RowEncoder:
    """Turns table rows and their images into tensors with one processor, prompt and resolution policy.

    `choices` is how many the table has (None: as many as prompts can show). `letter_ids` are the answers' tokens.
    """

    def __init__(
        self,
        processor: Any,
        model: ModelConfig,
        prompt: PromptConfig,
        arguments: Mapping[str, Any] = NO_THINKING,
        choices: int | None = None,
    ) -> None:
        self.tokenizer = processor.tokenizer
        self.image_processor = processor.image_processor
        self.renderer = PromptRenderer(processor, prompt, arguments)
        self.model = model
        self.image_token = self.tokenizer.convert_tokens_to_ids(processor.image_token)
        self.merge = self.image_processor.merge_size
        self.patch = self.image_processor.patch_size
        self.letter_ids = self.renderer.answer_tokens(self.tokenizer, choices)

    def pixel_limits(self, view: ViewConfig) -> tuple[int, int]:
        """The smallest and largest image area of `view`, in pixels."""
        smallest = self.model.min_pixels if view.min_pixels is None else view.min_pixels
        largest = self.model.max_pixels if view.max_pixels is None else view.max_pixels
        return smallest, largest

    def grid_of(self, width: int, height: int, view: ViewConfig) -> tuple[int, int, int]:
        """The patch grid (t, h, w) that an image of this size gets, without opening it."""
        smallest, largest = self.pixel_limits(view)
        factor = self.patch * self.merge
        rows, columns = smart_resize(height, width, factor, min_pixels=smallest, max_pixels=largest)
        return 1, rows // self.patch, columns // self.patch

    def pixels(self, image_file: Path | str, view: ViewConfig) -> torch.Tensor:
        """The image's normalised patches, mirrored if the view says so.

        (h·w, 3 colours x 2 frames x patch²) float32: (h·w, 1176) for patches of 14 pixels, (h·w, 1536) for 16.

        qwen-vl-utils resizes, the processor only cuts and normalises: two resizers would give different images.
        """
        image: Image.Image = open_image(image_file)
        if view.flip:
            image = ImageOps.mirror(image)
        smallest, largest = self.pixel_limits(view)
        resized = fetch_image({"image": image, "min_pixels": smallest, "max_pixels": largest}, self.patch)
        return self.image_processor(images=[resized], do_resize=False, return_tensors="pt")["pixel_values"]

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> EncodedRow:
        """Encode `row` in the given choice orders."""
        rendered = self.renderer.render(row, orders)
        grid = self.grid_of(row.width, row.height, view)
        if 0 in grid:
            size, largest = f"{row.width} x {row.height} pixels", self.pixel_limits(view)[1]
            raise UserError(
                f"row {row.id!r} ({row.image_file}): an image of {size} is too thin for max_pixels {largest}. Crop it, "
                "or raise max_pixels."
            )
        image_tokens = grid[0] * grid[1] * grid[2] // self.merge**2
        prefix = self._token_ids(rendered.prefix)
        at = prefix.index(self.image_token)
        assert prefix.count(self.image_token) == 1, "the chat template adds the image token, once"
        prefix = prefix[:at] + [self.image_token] * image_tokens + prefix[at + 1 :]
        positions = mrope_positions(len(prefix), at, grid, self.merge)
        branches = [self._token_ids(text) for text in rendered.branches]
        return EncodedRow(row.id, prefix, branches, positions, int(positions.max()) + 1, grid)

    def _token_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def mrope_positions(length: int, image_at: int, grid: tuple[int, int, int], merge: int) -> torch.Tensor:
    """M-RoPE positions (3, length) of a text with one image whose first token stands at `image_at`.

    As Qwen2_5_VLModel.get_rope_index gives for one still image: text counts up in all three rows alike; an image's
    tokens share one temporal position and count rows and columns of the merged grid; text continues after the largest.
    """
    rows, columns = grid[1] // merge, grid[2] // merge
    image_tokens = rows * columns
    before = torch.arange(image_at).expand(3, -1)
    height = torch.arange(rows).repeat_interleave(columns)
    width = torch.arange(columns).repeat(rows)
    image = torch.stack([torch.zeros(image_tokens, dtype=torch.long), height, width]) + image_at
    after = torch.arange(length - image_at - image_tokens).expand(3, -1) + image_at + max(rows, columns)
    return torch.cat([before, image, after], dim=1)
