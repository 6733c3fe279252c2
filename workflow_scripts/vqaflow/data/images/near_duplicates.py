"""Images that look alike: perceptual hashes of 64 bits that differ in a few of them.

Two hashes within `distance` bits agree in at least one of `distance` + 1 bands (pigeonhole principle; multi-index
hashing after Norouzi, Punjani and Fleet, 2012). So only hashes that share a band are compared, unless the bands would
be so narrow that comparing all is less work.

Shapes: N hashes, M other hashes.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

BITS = 64
BLOCK_PAIRS = 1 << 22  # compared at once: 32 MB of differences


def hash_numbers(digits: Iterable[str]) -> np.ndarray:
    """Hashes of 16 hexadecimal digits as numbers (uint64)."""
    return np.array([int(text, 16) for text in digits], dtype=np.uint64)


def near_pairs(hashes_N: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions i < j of hashes within `distance` bits, in blocks; a pair may occur more than once."""
    for bucket in _buckets(hashes_N, distance):
        rows = max(1, BLOCK_PAIRS // len(bucket))
        for start in range(0, len(bucket), rows):
            # only pairs right of the diagonal, except in the block's own corner
            differing = hashes_N[bucket[start : start + rows], None] ^ hashes_N[None, bucket[start:]]
            i, j = np.nonzero(np.bitwise_count(differing) <= distance)
            ahead = j > i
            yield bucket[start + i[ahead]], bucket[start + j[ahead]]


def nearest_distance(hashes_N: np.ndarray, others_M: np.ndarray, ignore_self: bool = False) -> np.ndarray:
    """Bits to the nearest of `others_M` for each of `hashes_N`; BITS if there is none.

    With `ignore_self` every hash is itself among the others and is left out once.
    """
    rows = max(1, BLOCK_PAIRS // max(len(others_M), 1))
    nearest_N = np.full(len(hashes_N), BITS, dtype=np.uint8)
    for start in range(0, len(hashes_N) if len(others_M) > ignore_self else 0, rows):
        bits = np.bitwise_count(hashes_N[start : start + rows, None] ^ others_M[None])
        nearest_N[start : start + rows] = np.partition(bits, int(ignore_self), axis=1)[:, int(ignore_self)]
    return nearest_N


def _buckets(hashes_N: np.ndarray, distance: int) -> Sequence[np.ndarray]:
    """Sets of ascending positions such that every near pair is in one of them."""
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    found = []
    for low, high in zip(edges, edges[1:], strict=False):
        band_N = (hashes_N >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band_N, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(band_N[order])) + 1)
        found += [run for run in runs if len(run) > 1]
    too_narrow = sum(len(run) ** 2 for run in found) > len(hashes_N) ** 2
    return [np.arange(len(hashes_N))] if too_narrow else found
