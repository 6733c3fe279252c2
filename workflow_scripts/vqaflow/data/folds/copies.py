"""Copies of an image with other pixels: saved again as JPEG, made smaller, mirrored, turned or cropped.

A perceptual hash tells which images to compare: that of a copy differs in few bits, and the hash of a mirrored or
turned image follows from that of the image but for a few bits (docs/leaks.md has the measurements). What the hashes
propose is compared in colour: two images are copies if every one of 32 x 32 cells agrees. Other images of one kind
(drawings, digits) may have equal hashes, and are no copies. crops.py finds those that were cropped.

Shapes: N hashes or rows, P pairs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from vqaflow.data.folds.crops import MOST_IMAGES, find_crops
from vqaflow.data.folds.small_images import is_copy, read_small
from vqaflow.data.images.near_duplicates import hash_numbers, likely_pairs

COPY_COLUMNS = ["id", "image_file", "pixels", "phash"]
COPY_BITS = 10  # in which the hash of a copy may differ from what follows from the image's
PAIRS_PER_IMAGE = 20  # pairs that are compared, for each image on average
NEAR_BITS = 4  # images whose hashes differ in no more are told if they are in different folds
EXAMPLES = 20  # pairs of those that are listed
SAME = "saved again"
CROPPED = {False: "cropped", True: "cropped and mirrored"}
WHOLE = {False: "the whole of which it is a crop", True: "the whole of which it is a mirrored crop"}
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
class Copy:
    """The image of row `copy` (an id) is that of row `row`, but for `how` it was changed."""

    row: str
    copy: str
    how: str


@dataclass(frozen=True, slots=True)
class Copies:
    """The `found` copies; of `compared` pairs with similar hashes; `left` such pairs and `unread` images were not.

    `too_many` is the number of images if there are too many to look for crops, else 0.
    """

    found: list[Copy]
    compared: int
    left: int
    unread: int
    too_many: int = 0

    def report(self, train_ids: Iterable[str]) -> dict[str, Any]:
        """What folds.report.json says of the copies; those within the training table are ``joined``."""
        known = set(train_ids)
        joined = [asdict(copy) for copy in self.found if {copy.row, copy.copy} <= known]
        counts = {"compared": self.compared, "not_compared": self.left, "images_not_read": self.unread}
        counts["images_without_search_for_crops"] = self.too_many
        return counts | {"joined": joined}


def find_copies(table: pd.DataFrame) -> Copies:
    """All copies among the images of `table`, which has the COPY_COLUMNS; rows without an image have null digests.

    Images with equal pixels count once, as the first row that shows them.
    """
    images = table.dropna(subset=["pixels"]).drop_duplicates("pixels").reset_index(drop=True)
    proposed = proposals(hash_numbers(images["phash"]))
    count = sum(map(len, proposed.values()))
    most = PAIRS_PER_IMAGE * len(images)
    compared = list(islice(((i, j, how) for how, pairs in proposed.items() for i, j in pairs.tolist()), most))
    positions = sorted({position for i, j, _ in compared for position in (i, j)})
    small = dict(zip(positions, read_small(images["image_file"].iloc[positions]), strict=True))
    ids, found = images["id"].tolist(), {}
    for i, j, how in compared:
        one, other = small[i], small[j]
        if one and other and (i, j) not in found and is_copy(one.transpose(TURNS[how]) if how in TURNS else one, other):
            found[i, j] = Copy(ids[i], ids[j], how)
    if len(images) > MOST_IMAGES:
        unread = sum(image is None for image in small.values())
        return Copies(list(found.values()), len(compared), count - len(compared), unread, len(images))
    crops = find_crops(images["image_file"].tolist(), found)
    for image, crop, is_mirrored in crops.found:
        i, j, how = (image, crop, CROPPED) if image < crop else (crop, image, WHOLE)
        found.setdefault((i, j), Copy(ids[i], ids[j], how[is_mirrored]))
    left = count - len(compared) + crops.left
    return Copies(list(found.values()), len(compared) + crops.compared, left, crops.unread)


def proposals(hashes_N: np.ndarray) -> dict[str, np.ndarray]:
    """For each way to change an image the pairs i < j, (P, 2), of which j may be i changed so, by their hashes."""
    changed = {SAME: hashes_N} | {how: turned_hashes(hashes_N, turn) for how, turn in TURNS.items()}
    return {how: likely_pairs(made_N, hashes_N, COPY_BITS) for how, made_N in changed.items()}


def turned_hashes(hashes_N: np.ndarray, turn: Image.Transpose) -> np.ndarray:
    """What imagehash.phash gives, but for a few bits, once each picture is turned.

    A hash has a bit for each of 8 x 8 frequencies (cosine transform) that is above their median, which is near 0.
    Mirroring a picture changes the sign of the odd frequencies of that direction, transposing it transposes them.
    """
    bits = np.unpackbits(hashes_N.astype(">u8").view(np.uint8)).reshape(-1, 8, 8)
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


def joined_pairs(about_copies: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The ids of the rows that share a group because one image is a copy of the other."""
    return [(copy["row"], copy["copy"]) for copy in about_copies["joined"]]


def near_report(table: pd.DataFrame, fold_N: np.ndarray) -> dict[str, Any]:
    """Pairs of images of other pixels with hashes within NEAR_BITS: all, those in different folds, the first of those.

    These are pictures of one kind, or copies that were changed too much to be certain (cut, brightened).
    """
    firsts = table.assign(fold=fold_N).drop_duplicates("pixels")
    hashes_N = hash_numbers(firsts["phash"])
    pairs_P2 = likely_pairs(hashes_N, hashes_N, NEAR_BITS)
    folds, ids = firsts["fold"].to_numpy(), firsts["id"].tolist()
    apart_P2 = pairs_P2[folds[pairs_P2[:, 0]] != folds[pairs_P2[:, 1]]]
    examples = [{"one": ids[i], "other": ids[j]} for i, j in apart_P2[:EXAMPLES].tolist()]
    return {"distance": NEAR_BITS, "pairs": len(pairs_P2), "in_different_folds": len(apart_P2), "examples": examples}
