"""Batches of generated questions about generated pictures.

Shapes: B rows, T tokens, H and W pixels of a picture's sides, 3 colors or axes of M-RoPE positions.
"""

from collections.abc import Sequence
from typing import Any

import torch

from vqaflow.config.sections import PromptConfig
from vqaflow.demo.tiny_base.families import GRID
from vqaflow.demo.tiny_base.network import Example
from vqaflow.demo.tiny_base.pictures import Painter
from vqaflow.demo.tiny_base.prompts import PromptAssembler
from vqaflow.demo.tiny_base.world import GeneratedWorld

CONFIGURED_STYLE_SHARE = 0.7  # share of the prompts that are worded as in config.yaml


class Patches:
    """Cuts pictures into normalised patches exactly as Qwen2VLImageProcessor does, on any device."""

    def __init__(self, image_processor: Any, device: torch.device) -> None:
        self.temporal = image_processor.temporal_patch_size
        self.patch, self.merge = image_processor.patch_size, image_processor.merge_size
        self.mean = torch.tensor(image_processor.image_mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(image_processor.image_std, device=device).view(3, 1, 1)

    def __call__(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """Patches (B·h·w, 3·temporal·patch·patch) in the order of the merged grid."""
        normal = (pixels_B3HW / 255 - self.mean) / self.std
        patch, merge = self.patch, self.merge
        count, side = len(normal), normal.shape[-1] // (patch * merge)
        cut = normal.view(count, 3, side, merge, patch, side, merge, patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, block row, block column, row, column, channel, y, x
        cut = cut.unsqueeze(6).expand(*cut.shape[:6], self.temporal, *cut.shape[6:])
        return cut.reshape(-1, 3 * self.temporal * patch * patch)


class Generator:
    """Draws batches of generated rows on one device from one seed."""

    def __init__(
        self, processor: Any, model: Any, styles: Sequence[PromptConfig], device: torch.device, seed: int
    ) -> None:
        self.painter = Painter(device, seed, GRID[1] * processor.image_processor.patch_size)
        self.dice = self.painter.dice
        self.world = GeneratedWorld(self.dice)
        self.patches = Patches(processor.image_processor, device)
        self.prompts = PromptAssembler(processor, model, self.world, styles, GRID)

    def draw(self, count: int) -> Example:
        """`count` fresh rows."""
        pictures = self.painter.paint(count)
        questions = self.world.ask(pictures.facts)
        styles = len(self.prompts.prefix)
        other = 1 + self.dice.integers(count, styles - 1)
        style = torch.where(self.dice.chance(count, CONFIGURED_STYLE_SHARE), 0, other)
        prompts = self.prompts.assemble(questions, style)
        return self.example(pictures, questions, prompts)

    def example(self, pictures: Any, questions: Any, prompts: Any) -> Example:
        """The rows of these pictures, questions and prompts."""
        return Example(
            self.patches(pictures.pixels),
            prompts.ids_BT,
            prompts.positions_3BT,
            prompts.ends_B,
            questions.answer,
            pictures.facts,
            questions.kind,
            questions.language,
            questions.negated,
        )
