"""Training images that reappear in test: a score on them says nothing about new images.

Shapes: U distinct hashes of both tables.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from vqaflow.data.folds.copies import Copy
from vqaflow.data.images.near_duplicates import hash_numbers, near_pairs

EXAMPLES = 20  # pairs of rows that are listed
Partners = Mapping[str, str]  # for the pixels of an image, the first id of the other table that shows its partner


def seen_images(
    train: pd.DataFrame, test: pd.DataFrame, near_distance: int, copies: Iterable[Copy] = ()
) -> dict[str, Any]:
    """Images of both tables (columns id, pixels, phash): ``exact`` with equal pixels, ``copies``, and ``near``.

    `copies` are those of copies.py. Near are images of other pixels whose hashes differ in at most `near_distance`
    bits. An image with an equal one in the other table may also be near to another one there, and counts as both.
    """
    train, test = (table.dropna(subset=["pixels"]) for table in (train, test))
    first_train, first_test = (dict(zip(t["pixels"][::-1], t["id"][::-1], strict=True)) for t in (train, test))
    pixels_of = dict(zip(test["id"], test["pixels"], strict=True)) | dict(
        zip(train["id"], train["pixels"], strict=True)
    )
    copied: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for copy in copies:
        for one, other in ((pixels_of[copy.row], pixels_of[copy.copy]), (pixels_of[copy.copy], pixels_of[copy.row])):
            if one in first_train and other in first_test:
                copied["train"].setdefault(one, first_test[other])
                copied["test"].setdefault(other, first_train[one])
    near = near_partners(train, test, near_distance)
    return {
        "exact": matches(train, test, first_test, first_train),
        "copies": matches(train, test, copied["train"], copied["test"]),
        "near": {"distance": near_distance, **matches(train, test, *near)},
    }


def near_partners(train: pd.DataFrame, test: pd.DataFrame, distance: int) -> tuple[Partners, Partners]:
    """The partners in test of training images, and those in train of test images, within `distance` bits."""
    images = [table.drop_duplicates("pixels") for table in (train, test)]
    hashes = [hash_numbers(table["phash"]) for table in images]
    unique_U = np.unique(np.concatenate(hashes))
    near: dict[int, list[int]] = defaultdict(list)
    for i, j in near_pairs(unique_U, distance):
        for one, other in zip(unique_U[i].tolist(), unique_U[j].tolist(), strict=True):
            near[one].append(other)
            near[other].append(one)
    sides = [list(zip(h.tolist(), t["pixels"], t["id"], strict=True)) for h, t in zip(hashes, images, strict=True)]
    return partners(sides[0], sides[1], near), partners(sides[1], sides[0], near)


def partners(
    own: list[tuple[int, str, str]], others: list[tuple[int, str, str]], near: Mapping[int, list[int]]
) -> Partners:
    """For each of `own` (hash, pixels, id) that has one, the first other image with the same or a near hash."""
    by_hash: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for number, pixels, row_id in others:
        by_hash[number].append((pixels, row_id))
    found = {}
    for number, pixels, _ in own:
        for partner in (number, *near.get(number, ())):
            # At most one of them is the image itself.
            if differing := [row_id for shown, row_id in by_hash.get(partner, [])[:2] if shown != pixels]:
                found[pixels] = differing[0]
                break
    return found


def matches(train: pd.DataFrame, test: pd.DataFrame, in_test: Partners, in_train: Partners) -> dict[str, Any]:
    """Rows and images with a partner in the other table, and the first pairs."""
    found = train[train["pixels"].isin(in_test.keys())]
    shown = zip(found["id"][:EXAMPLES], found["pixels"], strict=False)
    return {
        "train_rows": len(found),
        "train_images": int(found["pixels"].nunique()),
        "test_rows": int(test["pixels"].isin(in_train.keys()).sum()),
        "examples": [{"train": row_id, "test": in_test[pixels]} for row_id, pixels in shown],
    }
