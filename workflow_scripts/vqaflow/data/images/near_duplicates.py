"""Images that look alike: perceptual hashes of 64 bits that differ in a few of them.

Two hashes within `distance` bits agree in at least one of `distance` + 1 bands (pigeonhole principle; multi-index
hashing after Norouzi, Punjani and Fleet, 2012). So only hashes that share a band are compared, unless the bands would
be so narrow that comparing all is less work.

Shapes: N hashes, M other hashes.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np

BITS = 64
BLOCK_PAIRS = 1 << 22  # compared at once: 32 MB of differences
BYTES = range(0, BITS, 8)  # where the bytes of a hash begin
NEIGHBOURS = 8  # that a hash is compared with, of those that share two bytes with it


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


def likely_pairs(hashes_N: np.ndarray, others_N: np.ndarray, distance: int) -> np.ndarray:
    """Positions (i, j), i < j, of `hashes_N` i and `others_N` j within `distance` bits, (P, 2) in ascending order.

    Both describe the same things: `others_N` are the hashes after a turn, or `hashes_N` itself. Only pairs that share
    two of the eight bytes are compared: all within 6 bits do, and of those within 10 bits most. Where very many hashes
    share two bytes, each is compared with its NEIGHBOURS only, so that the work grows no faster than N log N.
    """
    count, both_N = len(hashes_N), np.concatenate([hashes_N, others_N])
    if np.array_equal(hashes_N, others_N):
        both_N = hashes_N
    found = [np.empty(0, dtype=np.int64)]
    for high, low in combinations(BYTES, 2):
        keys_N = (both_N >> np.uint64(high) & np.uint64(255)) << np.uint64(8) | both_N >> np.uint64(low) & np.uint64(
            255
        )
        order_N = np.argsort(keys_N.astype(np.uint16), kind="stable")
        keys_N, sorted_N = keys_N[order_N], both_N[order_N]
        for ahead in range(1, NEIGHBOURS + 1):
            near = np.bitwise_count(sorted_N[:-ahead] ^ sorted_N[ahead:]) <= distance
            at = np.flatnonzero(near & (keys_N[:-ahead] == keys_N[ahead:]))
            one, other = order_N[at], order_N[at + ahead]  # ascending: the sort is stable
            if both_N is not hashes_N:
                crossing = (one < count) & (other >= count) & (one < other - count)
                one, other = one[crossing], other[crossing] - count
            found.append(one * count + other)
    return np.stack(np.divmod(np.unique(np.concatenate(found)), max(count, 1)), 1)


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
