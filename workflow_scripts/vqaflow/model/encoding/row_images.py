"""From an image file to the patches that the tower takes: the part of a row's encoding that needs no tokenizer.

It can be sent to other processes (see features/readers.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from qwen_vl_utils import smart_resize
from qwen_vl_utils.vision_process import fetch_image

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ModelConfig, ViewConfig
from vqaflow.data.images.decoding import open_image
from vqaflow.data.images.pictures import NEUTRAL, Picture
from vqaflow.data.images.visual_tokens import least_max_pixels
from vqaflow.runtime.errors import UserError

Grid = tuple[int, int, int]


class RowImages:
    """Turns the images of rows into patches with one image processor and resolution policy."""

    def __init__(self, image_processor: Any, model: ModelConfig) -> None:
        self.image_processor, self.model = image_processor, model
        self.merge, self.patch = image_processor.merge_size, image_processor.patch_size

    @property
    def images(self) -> "RowImages":
        """This part alone."""
        return RowImages(self.image_processor, self.model)

    def pixel_limits(self, view: ViewConfig) -> tuple[int, int]:
        """The smallest and largest area of a picture of `view`, in pixels."""
        return view.limits(self.model.limits)

    def grid_of(self, width: int, height: int, view: ViewConfig, where: str = "images") -> Grid:
        """The patch grid (t, h, w) that a picture of this size gets, without opening it.

        Raises UserError, which begins with `where`, if nothing is left of it: max_pixels was lowered since
        validate_tables looked at the images.
        """
        smallest, largest = self.pixel_limits(view)
        factor = self.patch * self.merge
        rows, columns = smart_resize(height, width, factor, min_pixels=smallest, max_pixels=largest)
        if not rows or not columns:
            what = f"an image of {width} x {height} pixels is too thin for max_pixels {largest:,}"
            cure = f"Raise max_pixels (model or view) to {least_max_pixels(width, height, factor, largest):,}"
            raise UserError(f"{where}: {what}: no row of visual tokens is left. {cure}, or crop the image.")
        return 1, rows // self.patch, columns // self.patch

    def pixels(self, image_file: Path | str, view: ViewConfig) -> torch.Tensor:
        """The patches of the whole image, mirrored if the view says so (see `patches`)."""
        image = opened(image_file, view.flip)
        return self._patches(Picture(*image.size), image, view)

    def patches(self, row: Row, view: ViewConfig, pictures: Sequence[Picture]) -> list[torch.Tensor]:
        """The normalised patches of some of the row's pictures in `view`; its image is opened once.

        (h·w, 3 colours x 2 frames x patch²) float32: (h·w, 1176) for patches of 14 pixels, (h·w, 1536) for 16.

        qwen-vl-utils resizes, the processor only cuts and normalises: two resizers would give different images.
        """
        is_shown = any(not picture.is_grey for picture in pictures)
        image = opened(row.image_file, flips(view, pictures), row.sha256) if is_shown else Image.new("RGB", (1, 1))
        return [self._patches(picture, image, view) for picture in pictures]

    def _patches(self, picture: Picture, image: Image.Image, view: ViewConfig) -> torch.Tensor:
        if picture.is_grey:
            image = Image.new("RGB", (picture.width, picture.height), NEUTRAL)
        if picture.box:
            _, rows, columns = self.grid_of(picture.width, picture.height, view)
            resized = picture.cut(image, columns * self.patch, rows * self.patch)
        else:
            smallest, largest = self.pixel_limits(view)
            resized = fetch_image({"image": image, "min_pixels": smallest, "max_pixels": largest}, self.patch)
        return self.image_processor(images=[resized], do_resize=False, return_tensors="pt")["pixel_values"]


def opened(image_file: Path | str, flip: bool, sha256: str | None = None) -> Image.Image:
    """The image in a file, mirrored if `flip`. Raises UserError unless its bytes have the digest `sha256`."""
    image: Image.Image = open_image(image_file, sha256)
    return ImageOps.mirror(image) if flip else image


def flips(view: ViewConfig, pictures: Sequence[Picture]) -> bool:
    """Whether the image that some pictures of one row show is mirrored: by the view or by the row, not by both."""
    return view.flip != any(picture.is_mirrored for picture in pictures)
