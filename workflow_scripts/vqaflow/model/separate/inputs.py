"""What the passes of rows take, made by the model's own processor, on the CPU and ahead of the decoder.

Shapes: L tokens of a pass.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.data.images.pictures import NEUTRAL, Picture
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_images import flips, opened
from vqaflow.model.features.readers import readers_of
from vqaflow.model.features.stream import Prepared
from vqaflow.model.separate.encoder import PassEncoder, PassRow, Size


@dataclass(frozen=True)
class RowInputs:
    """The forward's arguments for the K passes of one row: each pass's `own` ones, and those that all passes share.

    Sequences are (1, L). `together` says whether the passes may be computed as one batch with others.
    """

    own: tuple[dict[str, Any], ...]
    shared: dict[str, Any]
    together: bool = True

    @property
    def passes(self) -> list[dict[str, Any]]:
        """All arguments of each pass."""
        return [mine | self.shared for mine in self.own]


@dataclass(frozen=True)
class InputReader:
    """What reading needs; it can be sent to other processes."""

    encoder: PassEncoder
    view: ViewConfig

    def inputs(self, row: Row, encoded: PassRow) -> RowInputs:
        """The inputs of one row."""
        return row_inputs(self.encoder, row, encoded, self.view)


class PassInputs:
    """The inputs of rows in one view; the counterpart of the feature cache and stream of other families."""

    def __init__(self, base: Base, encoder: PassEncoder, view: ViewConfig) -> None:
        self.base, self.encoder, self.view = base, encoder, view
        self.readers = readers_of(InputReader(encoder, view), base.device)

    def of(self, items: Sequence[tuple[Row, PassRow]]) -> list[RowInputs]:
        """The inputs of each row and its encoding."""
        with ThreadPoolExecutor(self.readers.threads) as pool:
            return list(pool.map(lambda item: self.readers.call("inputs", *item), items))

    def fill(self, items: Sequence[tuple[Row, PassRow]]) -> None:
        """Do nothing: no part of these families' passes can be kept for later ones."""

    def stream(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[tuple[Sequence[Prepared], list[RowInputs]]]:
        """Each batch with its rows' inputs; the next batch is read meanwhile."""
        waiting: deque[tuple[Sequence[Prepared], list[Future[RowInputs]]]] = deque()
        call, ahead = self.readers.call, self.readers.ahead
        with ThreadPoolExecutor(self.readers.threads) as pool:
            for batch in batches:
                waiting.append((batch, [pool.submit(call, "inputs", item.row, item.encoded) for item in batch]))
                while len(waiting) > 1 and sum(len(inputs) for _, inputs in list(waiting)[1:]) >= ahead:
                    yield _ready(*waiting.popleft())
            while waiting:
                yield _ready(*waiting.popleft())


def _ready(batch: Sequence[Prepared], inputs: list["Future[RowInputs]"]) -> tuple[Sequence[Prepared], list[RowInputs]]:
    return batch, [future.result() for future in inputs]


def row_inputs(encoder: PassEncoder, row: Row, encoded: PassRow, view: ViewConfig) -> RowInputs:
    """What the processor makes of a row's texts, each with the pictures of its image in `view`."""
    is_shown = any(not picture.is_grey for picture in encoded.pictures)
    image = opened(row.image_file, flips(view, encoded.pictures), row.sha256) if is_shown else Image.new("RGB", (1, 1))
    return inputs_of(encoder, image, encoded, view)


def inputs_of(encoder: PassEncoder, image: Image.Image, encoded: PassRow, view: ViewConfig) -> RowInputs:
    """The same for an opened image, mirrored if the view says so."""
    pictures = [shown(picture, image, encoder.given_size(picture, view)) for picture in encoded.pictures]
    processor = copy.copy(encoder.processor)
    processor.image_processor = Once(encoder.image_processor)
    options = encoder.image_options(view)
    passes = [encoder.run(processor, text, pictures, options) for text in encoded.texts]
    shared = {name: value for name, value in passes[0].items() if _is_common(name, passes)}
    own = tuple({name: value for name, value in made.items() if name not in shared} for made in passes)
    return RowInputs(own, shared, encoder.together)


def shown(picture: Picture, image: Image.Image, size: Size) -> Image.Image:
    """A picture of `image` in the size at which the processor gets it."""
    if picture.is_grey:
        return Image.new("RGB", size, NEUTRAL)
    if picture.box:
        return picture.cut(image, *size)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


class Once:
    """An image processor that computes its first call's image, and gives the same for the other texts of a row."""

    def __init__(self, image_processor: Any) -> None:
        self.image_processor, self.made = image_processor, None

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The first call's result, copied: processors take entries out of it."""
        if self.made is None:
            self.made = self.image_processor(*args, **options)
        return copy.copy(self.made)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image_processor, name)


def is_sequence(value: Any, inputs: dict[str, Any]) -> bool:
    """Whether an argument of a pass has one entry per token, (1, L) as `input_ids`."""
    return isinstance(value, torch.Tensor) and value.shape == inputs["input_ids"].shape


def _is_common(name: str, passes: Sequence[dict[str, Any]]) -> bool:
    """Whether the argument `name` is not about tokens and is the same in all passes."""
    values = [made.get(name) for made in passes]
    if not isinstance(values[0], torch.Tensor) or is_sequence(values[0], passes[0]):
        return False
    return all(isinstance(v, torch.Tensor) and (v is values[0] or torch.equal(v, values[0])) for v in values)
