"""How many visual tokens a model of a given shape makes of an image, from the image's size and config.json alone."""

from collections.abc import Sequence
from types import SimpleNamespace

from vqaflow.config.sections import Limits, ModelConfig, ViewConfig
from vqaflow.data.images.pictures import tokens_in_view
from vqaflow.data.images.visual_tokens import tile_grid, visual_tokens
from vqaflow.model.families.known import family_of
from vqaflow.plan.shape import Shape

AS_THEY_ARE = ViewConfig()


def image_tokens(
    sizes: Sequence[tuple[int, int]], model: ModelConfig, shape: Shape, view: ViewConfig = AS_THEY_ARE
) -> list[int]:
    """Visual tokens of images of these (width, height) in `view`.

    Of families with a budget per image, it is the budget, which an image fills nearly. Of families that no module
    names, it is an estimate: as many as the image has tokens' areas, but not fewer than one picture of the tower.
    """
    limits = view.limits(model.limits)
    return tokens_in_view(sizes, view, lambda pictures: _picture_tokens(pictures, limits, shape))


def _picture_tokens(sizes: Sequence[tuple[int, int]], limits: Limits, shape: Shape) -> list[int]:
    """Visual tokens of single pictures of these (width, height)."""
    options = _image_options(limits, shape)
    if "max_soft_tokens" in options:
        return [options["max_soft_tokens"]] * len(sizes)
    if "max_patches" in options:
        least, most = options["min_patches"], options["max_patches"]
        grids = [tile_grid(*size, shape.tile, least, most) for size in sizes]
        return [_tile_tokens(columns * rows, shape) for columns, rows in grids]
    tokens = visual_tokens(*zip(*sizes, strict=True), shape.pixels, *limits) if sizes else []
    return [max(count, shape.tile_tokens) for count in tokens]


def largest_image(model: ModelConfig, shape: Shape, view: ViewConfig = AS_THEY_ARE) -> int:
    """Visual tokens of the largest image that the model is shown in `view`."""
    limits, (rows, columns) = view.limits(model.limits), view.shape
    pictures, options = 1 + rows * columns if view.tiles else 1, _image_options(limits, shape)
    if "max_patches" in options:
        return pictures * _tile_tokens(options["max_patches"], shape)
    return pictures * (options.get("max_soft_tokens") or max(limits[1] // shape.pixels**2, shape.tile_tokens))


def _tile_tokens(tiles: int, shape: Shape) -> int:
    """Visual tokens of an image in so many tiles; an overview as large as one tile comes on top of several."""
    return shape.tile_tokens * (tiles + (tiles > 1))


def _image_options(limits: Limits, shape: Shape) -> dict[str, int]:
    """The arguments that the family gives its image processor, which has the numbers of the shape; empty if none."""
    options = family_of(shape.kind).image_options
    sides = {"height": shape.tile, "width": shape.tile}
    processor = SimpleNamespace(patch_size=shape.patch, pooling_kernel_size=shape.merge, size=sides)
    return options(processor, *limits) if options else {}
