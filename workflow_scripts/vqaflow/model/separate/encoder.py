"""Rows become full prompt texts, one per choice order; the model's own processor makes the tensors (inputs.py)."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from PIL import Image

from vqaflow.artifacts.rows import Row, text_row
from vqaflow.config.sections import ModelConfig, PromptConfig, ViewConfig
from vqaflow.data.images.pictures import Picture, pictures_of
from vqaflow.model.encoding.prompts import PromptRenderer, RenderedRow
from vqaflow.model.families.family import Family
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of

Size = tuple[int, int]  # width and height in pixels
PROBE_SIZES: tuple[Size, Size] = ((640, 480), (300, 900))


@dataclass(frozen=True)
class PassRow:
    """One row with K choice orders: `texts` has one full prompt per order, ready for the processor.

    `tokens` is the number of tokens that all passes of the row hold; `grids` are (1, 1, visual tokens) of each picture,
    and `pictures` what these show.
    """

    id: str
    texts: tuple[str, ...]
    tokens: int
    grids: tuple[tuple[int, int, int], ...]
    pictures: tuple[Picture, ...]

    @property
    def grid(self) -> tuple[int, int, int]:
        """The grid of the first picture."""
        return self.grids[0]


class PassEncoder:
    """Turns table rows into texts, and texts and pictures into what the network's forward takes.

    `together` says whether passes may be computed as one padded batch (decoder.require_same_forward finds it out). A
    fast tokenizer must not be called from two threads at a time: `lock` is held around each call of the processor.

    `choices` is how many the table has (None: as many as prompts can show). `letter_ids` are the answers' tokens.

    `processor` has a tokenizer and an image processor (base.require_own_processor). Raises UserError if the checkpoint
    has no chat template, or a letter is not a single token.
    """

    merge = 1

    def __init__(
        self, processor: Any, model: ModelConfig, prompt: PromptConfig, family: Family, choices: int | None = None
    ) -> None:
        self.processor, self.model, self.family = processor, model, family
        self.tokenizer, self.image_processor = processor.tokenizer, processor.image_processor
        self.together, self.lock = True, threading.Lock()
        self.renderer = PromptRenderer(processor, prompt, family.template)
        self.letter_ids = self.renderer.answer_tokens(self.tokenizer, choices)
        probe_row = text_row("?", ["1"] * len(self.letter_ids), "general")
        probe = self.renderer.render(probe_row, [probe_row.letters])
        self.probe_text = probe.prefix + probe.branches[0]
        self._visual: dict[Any, int] = {}
        self._marks = self._marks_around_counted()

    def __getstate__(self) -> dict[str, Any]:
        """Another process has a lock of its own."""
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.Lock())

    def pixel_limits(self, view: ViewConfig) -> tuple[int, int]:
        """The smallest and largest area of a picture of `view`, in pixels."""
        return view.limits(self.model.limits)

    def image_options(self, view: ViewConfig) -> dict[str, Any]:
        """The processor's arguments for images in `view`."""
        options = self.family.image_options
        return options(self.image_processor, *self.pixel_limits(view)) if options else {}

    def fitted_size(self, width: int, height: int, view: ViewConfig) -> Size:
        """The size at which the processor gets an image: its own, or for unknown families at most the view's area."""
        largest = self.pixel_limits(view)[1]
        if self.family.image_options or width * height <= largest:
            return width, height
        return shrunk((width, height), largest)

    def given_size(self, picture: Picture, view: ViewConfig) -> Size:
        """The size at which the processor gets a picture: an enlarged tile has at most the view's area."""
        size, largest = (picture.width, picture.height), self.pixel_limits(view)[1]
        return shrunk(size, largest) if picture.box else self.fitted_size(*size, view)

    def encode(self, row: Row, orders: Sequence[str], view: ViewConfig) -> PassRow:
        """Encode `row` in the given choice orders, without opening its image."""
        pictures = pictures_of(row.width, row.height, view, row.mirrored)
        return self._encoded(row, self.renderer.render(row, orders, len(pictures)), pictures, view)

    def encode_reading(self, row: Row, view: ViewConfig) -> PassRow:
        """Encode the request to transcribe the text in the image of `row`."""
        pictures = pictures_of(row.width, row.height, view)
        return self._encoded(row, self.renderer.render_reading(row, len(pictures)), pictures, view)

    def _encoded(self, row: Row, rendered: RenderedRow, pictures: tuple[Picture, ...], view: ViewConfig) -> PassRow:
        texts = tuple(rendered.prefix + branch for branch in rendered.branches)
        options = self.image_options(view)
        visual = [self.visual_tokens(self.given_size(picture, view), options) for picture in pictures]
        lengths = [self._text_tokens(text) for text in texts]
        self.renderer.require_short(row.id, max(lengths))
        tokens = sum(lengths) + len(texts) * sum(visual)
        return PassRow(row.id, texts, tokens, tuple((1, 1, count) for count in visual), pictures)

    def _text_tokens(self, text: str) -> int:
        with self.lock:
            return len(self.tokenizer(text, **self.text_options(text))["input_ids"])

    def text_options(self, text: str) -> dict[str, Any]:
        """The tokenizer's arguments for a rendered prompt, as the library's apply_chat_template chooses them."""
        first = self.tokenizer.bos_token
        return {"add_special_tokens": False} if first is not None and text.startswith(first) else {}

    def visual_tokens(self, size: Size, options: dict[str, Any]) -> int:
        """The tokens that an image of `size` adds to the prompt's own."""
        key = (size, *sorted(options.items()))
        if key not in self._visual:
            counted = None if self._marks is None else self._counted(size, options)
            self._visual[key] = self._measured(size, options) if counted is None else counted + self._marks
        return self._visual[key]

    def _measured(self, size: Size, options: dict[str, Any]) -> int:
        """Tokens of a blank image of `size` in the processor's output, less those of the text."""
        inputs = self.run(self.processor, self.probe_text, [Image.new("RGB", size)], options)
        return inputs["input_ids"].shape[1] - self._text_tokens(self.probe_text)

    def _counted(self, size: Size, options: dict[str, Any]) -> int | None:
        """The processor's own count for an image of `size`; None if it has none."""
        count = getattr(self.processor, "_get_num_multimodal_tokens", None)
        try:
            with self.lock:
                return int(count(image_sizes=[(size[1], size[0])], **options)["num_image_tokens"][0])
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            return None

    def _marks_around_counted(self) -> int | None:
        """What the processor's own count leaves out, the same for two sizes; None if it cannot be relied on."""
        options, missing = self.image_options(ViewConfig()), set()
        for size in PROBE_SIZES:
            counted = self._counted(size, options)
            missing.add(None if counted is None else self._measured(size, options) - counted)
        return missing.pop() if len(missing) == 1 else None

    def run(
        self, processor: Any, text: str, pictures: Sequence[Image.Image], options: dict[str, Any]
    ) -> dict[str, Any]:
        """What `processor`, this encoder's or a copy of it, makes of one prompt and its pictures: one pass's inputs.

        Raises UserError if it does not take several pictures, or a prompt without one.
        """
        shown = {"images": [list(pictures)], **options} if pictures else {}
        try:
            with self.lock:
                made = processor(**shown, text=[text], padding=False, return_tensors="pt", **self.text_options(text))
        except Exception as error:  # processors raise whatever they do not expect
            if len(pictures) == 1:
                raise
            name, count = type(self.processor).__name__, len(pictures) or "no"
            raise UserError(
                f"config model.base: {name} does not take a prompt with {count} images ({reason_of(error)}). Use a "
                "base of another class, or views without tiles and blind."
            ) from error
        return dict(made)


def shrunk(size: Size, largest: int) -> Size:
    """`size`, or its shape with about the area `largest` in pixels if it is larger."""
    width, height = size
    if width * height <= largest:
        return size
    scale = sqrt(largest / (width * height))
    return max(1, int(width * scale)), max(1, int(height * scale))
