"""Rows become token ids, M-RoPE positions and image patches: the same encoder for training and scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig
from vqaflow.data.images.pictures import Picture, pictures_of
from vqaflow.model.encoding.chat_template import NO_THINKING
from vqaflow.model.encoding.prompts import PromptRenderer, RenderedRow
from vqaflow.model.encoding.row_images import Grid, RowImages


@dataclass(frozen=True)
class EncodedRow:
    """One row, ready to be packed: a prefix of P tokens and K branches.

    `prefix_positions` is (3, P), M-RoPE's temporal, height and width positions; the tokens of each branch
    start at `next_position`. `grids` are the (t, h, w) in patches of each picture, in their order in the prompt; what
    they show is in `pictures`, and `keys` tells their features from those of others.
    """

    id: str
    prefix_ids: list[int]
    branch_ids: list[list[int]]
    prefix_positions: torch.Tensor
    next_position: int
    grids: tuple[Grid, ...]
    pictures: tuple[Picture, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """The grid of the first picture."""
        return self.grids[0]

    @property
    def tokens(self) -> int:
        """Tokens of the row in one shared-prefix pass."""
        return len(self.prefix_ids) + sum(map(len, self.branch_ids))


class RowEncoder(RowImages):
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
        super().__init__(processor.image_processor, model)
        self.tokenizer = processor.tokenizer
        self.renderer = PromptRenderer(processor, prompt, arguments)
        self.image_token = self.tokenizer.convert_tokens_to_ids(processor.image_token)
        self.letter_ids = self.renderer.answer_tokens(self.tokenizer, choices)

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> EncodedRow:
        """Encode `row` in the given choice orders."""
        pictures = pictures_of(row.width, row.height, view, row.mirrored)
        return self._encoded(row, self.renderer.render(row, orders, len(pictures)), pictures, view)

    def encode_reading(self, row: Row, view: ViewConfig) -> EncodedRow:
        """Encode the request to transcribe the text in the image of `row`: one branch without a token."""
        pictures = pictures_of(row.width, row.height, view)
        return self._encoded(row, self.renderer.render_reading(row, len(pictures)), pictures, view)

    def _encoded(self, row: Row, rendered: RenderedRow, pictures: tuple[Picture, ...], view: ViewConfig) -> EncodedRow:
        where = f"row {row.id!r} ({row.image_file})"
        grids = tuple(self.grid_of(picture.width, picture.height, view, where) for picture in pictures)
        counts = [t * h * w // self.merge**2 for t, h, w in grids]
        shared, branches = self._token_ids(rendered.prefix), [self._token_ids(text) for text in rendered.branches]
        self.renderer.require_short(row.id, len(shared) + max(map(len, branches)))
        prefix, starts = with_image_tokens(shared, self.image_token, counts)
        positions = mrope_positions(len(prefix), starts, grids, self.merge)
        keys = tuple(picture.key(row.sha256) for picture in pictures)
        return EncodedRow(row.id, prefix, branches, positions, int(positions.max()) + 1, grids, pictures, keys)

    def _token_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def with_image_tokens(ids: Sequence[int], image_token: int, counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """`ids` with its image tokens repeated, each as often as `counts` says, and where the first of each stands."""
    assert ids.count(image_token) == len(counts), "the chat template adds the image token, once per picture"
    whole: list[int] = []
    starts: list[int] = []
    for token in ids:
        if token == image_token:
            starts.append(len(whole))
        whole += [token] * (counts[len(starts) - 1] if token == image_token else 1)
    return whole, starts


def mrope_positions(length: int, starts: Sequence[int], grids: Sequence[Grid], merge: int) -> torch.Tensor:
    """M-RoPE positions (3, length) of a text with still images whose first tokens stand at `starts`.

    As the library's get_rope_index gives: text counts up in all three rows alike; an image's tokens share one temporal
    position and count rows and columns of the merged grid; text continues after the largest.
    """
    parts: list[torch.Tensor] = []
    token, position = 0, 0  # the next ones
    for start, (_, patch_rows, patch_columns) in zip(starts, grids, strict=True):
        rows, columns = patch_rows // merge, patch_columns // merge
        parts.append((torch.arange(start - token) + position).expand(3, -1))
        position += start - token
        height = torch.arange(rows).repeat_interleave(columns)
        width = torch.arange(columns).repeat(rows)
        parts.append(torch.stack([torch.zeros_like(height), height, width]) + position)
        token, position = start + rows * columns, position + max(rows, columns)
    parts.append((torch.arange(length - token) + position).expand(3, -1))
    return torch.cat(parts, dim=1)
