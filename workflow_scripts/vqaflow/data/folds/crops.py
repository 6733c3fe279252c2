"""Cropped copies: an image that shows a part of another, maybe mirrored; each side may be cut by about 15 %.

The hash of a crop is far from that of the whole image, but near that of one of 80 parts of it, each side of which is
cut by 0, 6 or 12 %. What these hashes propose is aligned: the edges of the part are moved until it agrees best with the
crop (mirrored back if need be). Then the same comparison decides as for other copies. Drawings, of which a part looks
like a part of another, are left out: they are flat in most places. docs/leaks.md has the measurements.

Shapes: N images, R of them in a block, 2: as they are and mirrored, W parts along one direction, P = W * W parts, F
frequencies, G cells along each side of an image.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageOps
from scipy.fft import dct

from vqaflow.data.folds.small_images import SMALL, correlation, is_copy, read_small
from vqaflow.data.images.near_duplicates import BLOCK_PAIRS
from vqaflow.runtime.progress import ProgressBar

CUTS = (0.0, 0.06, 0.12)  # of one side, as a share of the image
SPANS = [(low, 1 - high) for low in CUTS for high in CUTS]  # of the parts along one direction; the first is the whole
FREQUENCIES = 8
GRID = 64  # cells of the images that are hashed
CROP_BITS = 8  # in which a crop's hash may differ from that of the nearest part
EDGE = 4  # of 255: how much neighbouring cells of an edge differ
BLOCK = 8  # cells along each side of the blocks of which most must have an edge
LEAST_DETAILED = 0.6  # share of blocks with an edge; of photographs at least 0.73, of half of the demo's drawings 0.19
LEAST_ALIKE = 0.4  # correlation before the alignment; of crops of photographs at least 0.47
ALIGNED = 128  # cells of the image whose part is aligned
FAR = 8.0  # of 255: no crop if cells differ by more on average after the first of STEPS; crops of photographs up to 6.9
STEPS = (1 / 64, 1 / 128, 1 / 256, 1 / 512)  # by which edges are moved, as a share of the image
MOVES = [
    np.array(move)
    for move in (
        *((1, 0, 1, 0), (0, 1, 0, 1)),  # the whole part, to the right and down
        *((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),  # an edge
        *((1, 0, -1, 0), (0, 1, 0, -1)),  # two opposite edges
    )
]
MOST_IMAGES = 10_000  # that are searched: the work grows with their square
IMAGES_PER_CROP = 3  # that are aligned with what may be their crop: those with the most similar hashes
TOGETHER = 256  # proposals whose images are in memory at once


@dataclass(frozen=True, slots=True)
class Crops:
    """Of those `found` the positions of image and crop, ascending, and whether the crop is mirrored.

    `compared` proposals; `left` were not compared; `unread` images could not be read.
    """

    found: list[tuple[int, int, bool]]
    compared: int
    left: int
    unread: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """That image number `crop`, or its mirror image, shows the part `box` of image number `image`.

    `box` holds the part's left, top, right and bottom edge as shares of the image.
    """

    image: int
    crop: int
    box: tuple[float, float, float, float]
    is_mirrored: bool


def find_crops(files: Sequence[str], known: Iterable[tuple[int, int]]) -> Crops:
    """All images among `files` that show a part of another. `known` are pairs of positions that need no look."""
    hashes, mirrored, unread = {}, [], 0
    with ProgressBar(len(files), "parts of images", unit="image") as bar:
        for at, image in enumerate(read_small(files, GRID)):
            bar.advance()
            if image is None:
                unread += 1
            elif is_detailed(image):
                hashes[at] = part_hashes(image)
                mirrored.append(part_hashes(ImageOps.mirror(image))[0])
    if not hashes:
        return Crops([], 0, 0, unread)
    number = {at: place for place, at in enumerate(hashes)}
    left_out = [(number[i], number[j]) for i, j in known if i in number and j in number]
    proposed, left = proposals(np.stack(list(hashes.values())), np.array(mirrored), left_out)
    found, positions = [], list(hashes)
    with ProgressBar(len(proposed), "crops", unit="pair") as bar:
        for some in batched(sorted(proposed, key=lambda one: (one.image, one.crop))):
            wanted = sorted({at for one in some for at in (one.image, one.crop)})
            images = dict(zip(wanted, read_small([files[positions[at]] for at in wanted], ALIGNED), strict=True))
            for one in some:
                bar.advance()
                if shows_part(images[one.image], images[one.crop], one):
                    found.append((positions[one.image], positions[one.crop], one.is_mirrored))
    return Crops(found, len(proposed), left, unread)


def batched(proposed: Sequence[Proposal]) -> Iterator[Sequence[Proposal]]:
    """The proposals in runs of TOGETHER."""
    for start in range(0, len(proposed), TOGETHER):
        yield proposed[start : start + TOGETHER]


def part_hashes(image: Image.Image) -> np.ndarray:
    """The hashes of all parts of a G x G image, (P,), the whole first.

    As imagehash.phash: a bit for each of F x F frequencies that is above their median. The parts' cells are made by
    the same matrix product as their cosine transform, so that 81 parts take 0.2 ms.
    """
    grey_GG = np.asarray(image.convert("L"), dtype=float)
    matrix = transforms().reshape(-1, GRID)  # (W * F, G)
    spans = len(SPANS)
    found = (matrix @ grey_GG @ matrix.T).reshape(spans, FREQUENCIES, spans, FREQUENCIES).transpose(0, 2, 1, 3)
    bits = found.reshape(spans * spans, -1).round(6)  # so that no processor's rounding decides a tie
    return np.packbits(bits > np.median(bits, axis=1, keepdims=True), axis=1).view(">u8").ravel().astype(np.uint64)


@lru_cache(maxsize=1)
def transforms() -> np.ndarray:
    """For each span the matrix that makes cells of it and their lowest frequencies, (W, F, G)."""
    cosines = dct(np.eye(SMALL), axis=0)[:FREQUENCIES]
    borders = np.arange(GRID + 1)
    made = []
    for low, high in SPANS:
        edges = np.linspace(low * GRID, high * GRID, SMALL + 1)
        shared = np.minimum(edges[1:, None], borders[1:]) - np.maximum(edges[:-1, None], borders[:-1])
        made.append(cosines @ (np.maximum(shared, 0) / np.diff(edges)[:, None]))
    return np.stack(made)


def is_detailed(image: Image.Image) -> bool:
    """Whether most blocks of a G x G image have an edge, as in a photograph."""
    grey_GG = np.asarray(image.convert("L"), dtype=float)
    down_GG = np.abs(np.diff(grey_GG, axis=0, append=grey_GG[-1:]))
    right_GG = np.abs(np.diff(grey_GG, axis=1, append=grey_GG[:, -1:]))
    blocks = GRID // BLOCK
    steepest = np.maximum(down_GG, right_GG).reshape(blocks, BLOCK, blocks, BLOCK).max((1, 3))
    return bool((steepest > EDGE).mean() >= LEAST_DETAILED)


def proposals(
    hashes_NP: np.ndarray, mirrored_N: np.ndarray, known: Iterable[tuple[int, int]]
) -> tuple[list[Proposal], int]:
    """For each image those of which it may show a part, by the parts' hashes; how many more were left out.

    `mirrored_N` are the hashes of the mirrored images. The work grows with the square of the images: 10,000 take about
    a minute.
    """
    parts_NP = hashes_NP[:, 1:]
    boxes = [(left, top, right, bottom) for (top, bottom), (left, right) in product(SPANS, SPANS)]
    joined = defaultdict(list)
    for i, j in known:
        joined[i].append(j)
        joined[j].append(i)
    wholes_N2 = np.stack([hashes_NP[:, 0], mirrored_N], axis=1)
    rows, found, left = max(1, BLOCK_PAIRS // (2 * parts_NP.size)), [], 0
    with ProgressBar(len(hashes_NP), "search for crops", unit="image") as bar:
        for start in range(0, len(hashes_NP), rows):
            bits_RN2P = np.bitwise_count(parts_NP[:, None] ^ wholes_N2[start : start + rows, None, :, None])
            nearest_RN = bits_RN2P.min((2, 3))
            for row, nearest_N in enumerate(nearest_RN):
                crop = start + row
                nearest_N[[crop, *joined[crop]]] = CROP_BITS + 1
                count = int((nearest_N <= CROP_BITS).sum())
                for image in np.argsort(nearest_N, kind="stable")[: min(count, IMAGES_PER_CROP)].tolist():
                    is_mirrored, part = np.unravel_index(bits_RN2P[row, image].argmin(), bits_RN2P.shape[2:])
                    found.append(Proposal(image, crop, boxes[part + 1], bool(is_mirrored)))
                left += max(count - IMAGES_PER_CROP, 0)
            bar.advance(len(nearest_RN))
    return found, left


def shows_part(image: Image.Image | None, crop: Image.Image | None, proposed: Proposal) -> bool:
    """Whether `crop` is a part of `image`, about as proposed: after alignment, by the comparison of small images."""
    if image is None or crop is None:
        return False
    small, box_4 = crop.resize((SMALL, SMALL), Image.Resampling.BOX), np.array(proposed.box)
    small = ImageOps.mirror(small) if proposed.is_mirrored else small
    if correlation(part_of(image, box_4), small) < LEAST_ALIKE:
        return False
    return is_copy(part_of(image, aligned(image, small, box_4)), small)


def part_of(image: Image.Image, box_4: np.ndarray) -> Image.Image:
    """The part of an image in small cells."""
    return image.resize((SMALL, SMALL), Image.Resampling.BOX, box=tuple(box_4 * ALIGNED))


def aligned(image: Image.Image, small: Image.Image, box_4: np.ndarray) -> np.ndarray:
    """The box near `box_4` whose part differs least from `small`, on average over all cells: downhill, step by step.

    The search ends early if the two are FAR from each other.
    """
    wanted = np.asarray(small, dtype=float)

    def difference(box_4: np.ndarray) -> float:
        return float(np.abs(np.asarray(part_of(image, box_4), dtype=float) - wanted).mean())

    least = difference(box_4)
    for step in STEPS:
        while True:
            for move in (sign * step * move for move in MOVES for sign in (1, -1)):
                moved_4 = np.clip(box_4 + move, 0, 1)
                if (moved_4 != box_4).any() and (reached := difference(moved_4)) < least:
                    least, box_4 = reached, moved_4
                    break
            else:
                break
        if least > FAR:
            break
    return box_4
