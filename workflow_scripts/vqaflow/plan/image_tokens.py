"""How many visual tokens a model of a given shape makes of an image, from the image's size and config.json alone."""

from collections.abc import Sequence
from types import SimpleNamespace

from vqaflow.config.sections import ModelConfig
from vqaflow.data.images.visual_tokens import tile_grid, visual_tokens
from vqaflow.model.families.known import family_of
from vqaflow.plan.shape import Shape


def image_tokens(sizes: Sequence[tuple[int, int]], model: ModelConfig, shape: Shape) -> list[int]:
    """Visual tokens of images of these (width, height).

    Of families with a budget per image, it is the budget, which an image fills nearly. Of families that no module
    names, it is an estimate: as many as the image has tokens' areas, but not fewer than one picture of the tower.
    """
    options = _image_options(model, shape)
    if "max_soft_tokens" in options:
        return [options["max_soft_tokens"]] * len(sizes)
    if "max_patches" in options:
        least, most = options["min_patches"], options["max_patches"]
        grids = [tile_grid(*size, shape.tile, least, most) for size in sizes]
        return [_tile_tokens(columns * rows, shape) for columns, rows in grids]
    pixels = (shape.pixels, model.min_pixels, model.max_pixels)
    tokens = visual_tokens(*zip(*sizes, strict=True), *pixels) if sizes else []
    return [max(count, shape.tile_tokens) for count in tokens]


def largest_image(model: ModelConfig, shape: Shape) -> int:
    """Visual tokens of the largest image that the model is shown."""
    options = _image_options(model, shape)
    if "max_patches" in options:
        return _tile_tokens(options["max_patches"], shape)
    return options.get("max_soft_tokens") or max(model.max_pixels // shape.pixels**2, shape.tile_tokens)


def _tile_tokens(tiles: int, shape: Shape) -> int:
    """Visual tokens of an image in so many tiles; an overview as large as one tile comes on top of several."""
    return shape.tile_tokens * (tiles + (tiles > 1))


def _image_options(model: ModelConfig, shape: Shape) -> dict[str, int]:
    """The arguments that the family gives its image processor, which has the numbers of the shape; empty if none."""
    options = family_of(shape.kind).image_options
    sides = {"height": shape.tile, "width": shape.tile}
    processor = SimpleNamespace(patch_size=shape.patch, pooling_kernel_size=shape.merge, size=sides)
    return options(processor, model.min_pixels, model.max_pixels) if options else {}
