"""Small images of a few cells of colour, and when two of them show the same.

Shapes: S sides of a small image, 3 colours.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from vqaflow.data.images.decoding import ImageProblem, one_large_image, open_image

SMALL = 32  # cells along each side of the images that are compared
MOST_DIFFERENT = 40  # of 255: by how much a cell of a copy may differ; of photographs saved as thumbnails, up to 38
MEAN_DIFFERENT = 4  # the same on average; up to 3.4
ALIKE = 0.98  # correlation of all cells; so flat images of similar colours are no copies


def read_small(files: Iterable[str], side: int = SMALL) -> Iterator[Image.Image | None]:
    """Each file's image in `side` x `side` cells, None where it cannot be read."""

    def small(file: str) -> Image.Image | None:
        try:
            with one_large_image(file):
                return open_image(file).resize((side, side), Image.Resampling.BOX)
        except ImageProblem:
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        yield from threads.map(small, files)


def is_copy(one: Image.Image, other: Image.Image) -> bool:
    """Whether each cell of two small images has nearly the same colour, and they are not both nearly flat."""
    different_SS3 = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    if different_SS3.max() > MOST_DIFFERENT or different_SS3.mean() > MEAN_DIFFERENT:
        return False
    return correlation(one, other) >= ALIKE


def correlation(one: Image.Image, other: Image.Image) -> float:
    """Of the colours of all cells of two small images, each colour against its own mean; 0 if one is flat."""
    a_SS3, b_SS3 = (np.asarray(image, dtype=float) for image in (one, other))
    a_SS3, b_SS3 = a_SS3 - a_SS3.mean((0, 1)), b_SS3 - b_SS3.mean((0, 1))
    norm = float(np.sqrt((a_SS3**2).sum() * (b_SS3**2).sum()))
    return float((a_SS3 * b_SS3).sum()) / norm if norm else 0.0
