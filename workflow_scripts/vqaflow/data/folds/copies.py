"""Copies of a picture that have other bytes: the same pixels saved again, and mirrored or turned ones.

A perceptual hash tells which pictures to open: equal pixels have equal hashes, and the hash of a mirrored or turned
picture follows from that of the picture, but for a few bits (up to 10 of 64 on photographs; other photographs differ
in 20 and more). What the hash proposes is compared in pixels.

Shapes: N rows, U distinct pictures.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from PIL import Image

from vqaflow.data.images.decoding import ImageProblem, open_image
from vqaflow.data.images.near_duplicates import BLOCK_PAIRS, hash_numbers
from vqaflow.runtime.stage import log

T = TypeVar("T")
COPY_COLUMNS = ["image_file", "width", "height"]
TURN_BITS = 10  # in which the hash of a turned picture may differ from what follows from the picture's
EXAMPLES = 20  # pairs that are listed
MOST_PICTURES = 20_000  # that are compared pair by pair
MOST_PAIRS = 10_000  # that are opened
SMALL = 32  # pixels of the sides at which turned pictures are compared
ALIKE = 0.98  # correlation of their greys; that of a copy saved as JPEG in half the size is above 0.99
TURNS = {
    "mirrored left to right": Image.Transpose.FLIP_LEFT_RIGHT,
    "mirrored top to bottom": Image.Transpose.FLIP_TOP_BOTTOM,
    "turned by 180 degrees": Image.Transpose.ROTATE_180,
    "turned by 90 degrees": Image.Transpose.ROTATE_90,
    "turned by 270 degrees": Image.Transpose.ROTATE_270,
    "mirrored and turned by 90 degrees": Image.Transpose.TRANSPOSE,
    "mirrored and turned by 270 degrees": Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True, slots=True)
class Turned:
    """Rows `one` and `other` of a table (positions) show one picture; `how` the second is turned."""

    one: int
    other: int
    how: str


def equal_pixels(table: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Pairs of positions of rows whose pictures have other bytes and the same pixels; each picture once.

    `table` has the columns sha256, phash, image_file, width and height. Pictures that cannot be read are left out, with
    a warning.
    """
    firsts = table.reset_index(drop=True).drop_duplicates("sha256")
    alike = firsts[firsts.duplicated(["phash", "width", "height"], keep=False)]
    seen: dict[str, int] = {}
    for position, digest in zip(alike.index.tolist(), read_all(pixel_digest, alike["image_file"]), strict=True):
        if digest is not None and seen.setdefault(digest, position) != position:
            yield seen[digest], position


def read_all(read: Callable[[str], T | None], files: Iterable[str]) -> list[T | None]:
    """What `read` makes of each file, None where it cannot be read."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        found = list(threads.map(read, files))
    if lost := found.count(None):
        log.warning("folds: %d pictures cannot be read, so that copies of them with other bytes are not found", lost)
    return found


def pixel_digest(file: str) -> str | None:
    """Digest of a picture's size and pixels; None if it cannot be read."""
    try:
        image = open_image(file)
    except ImageProblem:
        return None
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def turned_copies(table: pd.DataFrame) -> list[Turned]:
    """Pairs of pictures of which one is the other mirrored or turned, and not the same as it is; columns as above."""
    firsts = table.reset_index(drop=True).drop_duplicates("phash")
    if len(firsts) > MOST_PICTURES:
        log.info("folds: more than %d pictures; no search for mirrored or turned copies", MOST_PICTURES)
        return []
    positions, files = firsts.index.tolist(), firsts["image_file"].tolist()
    found = []
    for number, (i, j, how) in enumerate(turned_candidates(hash_numbers(firsts["phash"]))):
        if number == MOST_PAIRS:
            log.info("folds: more than %d pairs of pictures may be turned copies; the others are not looked at", number)
            break
        one, other = small_greys(files[i]), small_greys(files[j])
        if one is not None and other is not None and is_turned(one, other, TURNS[how]):
            found.append(Turned(positions[i], positions[j], how))
    return found


def is_turned(one: Image.Image, other: Image.Image, turn: Image.Transpose) -> bool:
    """Whether small greys are alike once the first is turned, and are not alike as they are."""
    return correlation(one.transpose(turn), other) >= ALIKE > correlation(one, other)


def correlation(one: Image.Image, other: Image.Image) -> float:
    """The correlation of two small greys; 0 if one of them is flat."""
    a, b = (np.asarray(image, dtype=float) - np.mean(image) for image in (one, other))
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm else 0.0


@lru_cache(maxsize=MOST_PICTURES)
def small_greys(file: str) -> Image.Image | None:
    """A picture in small greys; None if it cannot be read."""
    try:
        return open_image(file).convert("L").resize((SMALL, SMALL), Image.Resampling.BOX)
    except ImageProblem:
        return None


def turned_candidates(hashes_U: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """Pairs i < j of hashes such that j's is nearly what i's becomes by a turn, and not nearly i's own."""
    for how, turn in TURNS.items():
        turned_U = turned_hashes(hashes_U, turn)
        rows = max(1, BLOCK_PAIRS // max(1, len(hashes_U)))
        for start in range(0, len(hashes_U), rows):
            block = slice(start, start + rows)
            near = np.bitwise_count(turned_U[block, None] ^ hashes_U[None]) <= TURN_BITS
            near &= np.bitwise_count(hashes_U[block, None] ^ hashes_U[None]) > TURN_BITS
            for i, j in zip(*np.nonzero(near), strict=True):
                if start + i < j:
                    yield int(start + i), int(j), how


def turned_hashes(hashes_U: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """What imagehash.phash gives, but for a few bits, once each picture is turned.

    A hash has a bit for each of 8 x 8 frequencies (cosine transform) that is above their median, which is near 0.
    Mirroring a picture changes the sign of the odd frequencies of that direction, transposing it transposes them.
    """
    bits = np.unpackbits(hashes_U.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
    odd = np.arange(8) % 2
    transposing = {Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270}
    if turn in transposing | {Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE}:
        bits = bits.transpose(0, 2, 1)
    top_bottom = {Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180, Image.Transpose.TRANSVERSE}
    left_right = {Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.TRANSVERSE}
    if turn in top_bottom | {Image.Transpose.ROTATE_90}:
        bits = bits ^ odd[:, None].astype(np.uint8)
    if turn in left_right | {Image.Transpose.ROTATE_270}:
        bits = bits ^ odd[None].astype(np.uint8)
    return np.packbits(bits.reshape(-1, 64), axis=1).view(">u8").ravel().astype(np.uint64)


def turned_report(table: pd.DataFrame, folds_N: np.ndarray) -> dict[str, Any]:
    """How many pairs of turned copies there are, how many lie in different folds, and the first of those."""
    turned, ids = turned_copies(table), table["id"].tolist()
    apart = [pair for pair in turned if folds_N[pair.one] != folds_N[pair.other]]
    shown = [{"train": ids[pair.one], "copy": ids[pair.other], "how": pair.how} for pair in apart[:EXAMPLES]]
    return {"pairs": len(turned), "in_different_folds": len(apart), "examples": shown}
