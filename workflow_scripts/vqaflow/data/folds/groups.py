"""Which training rows must share a fold: those with the same image, or with the same question and choices.

Links are transitive: a group is a connected component.

Shapes: N rows, P pairs to link, U distinct hashes.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from vqaflow.data.images.near_duplicates import hash_numbers, near_pairs
from vqaflow.data.repeats import question_keys

PENDING_LINKS = 1 << 22  # links that are kept before they are reduced to components


class Linker:
    """Collects links between `count` things; memory stays bounded however many links there are."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.pending: list[tuple[np.ndarray, np.ndarray]] = []
        self.held = 0

    def link(self, i_P: np.ndarray, j_P: np.ndarray) -> None:
        """Link i to j, pair by pair."""
        self.pending.append((i_P, j_P))
        self.held += len(i_P)
        if self.held > PENDING_LINKS:
            first_N = first_positions(self.components())
            self.pending, self.held = [(np.arange(self.count), first_N)], self.count

    def components(self) -> np.ndarray:
        """For each thing the number of its component, in the order of first appearance."""
        i, j = (np.concatenate(side) for side in zip(*self.pending, strict=True)) if self.pending else ([], [])
        graph = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(self.count, self.count))
        return pd.factorize(connected_components(graph, directed=False)[1])[0]


def first_positions(keys: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """For each key the position where an equal one stands first."""
    # As objects: an array of strings would take the memory of the longest text for each row.
    codes, _ = pd.factorize(keys if isinstance(keys, np.ndarray) else np.asarray(keys, dtype=object))
    return np.unique(codes, return_index=True)[1][codes]


def row_groups(
    table: pd.DataFrame, group_by: Iterable[str], near_distance: int, copies: Iterable[tuple[str, str]] = ()
) -> np.ndarray:
    """The group of each row of the training table, numbered by first appearance.

    With ``image`` in `group_by` rows are linked if their images have equal pixels, if their ids are one of `copies`
    (see copies.py), or if their perceptual hashes differ in at most `near_distance` bits (if that is not 0); with
    ``question`` those with equal `question_keys`.
    """
    linker = Linker(len(table))
    rows = np.arange(len(table))
    if "image" in group_by:
        linker.link(rows, first_positions(table["pixels"]))
        position = dict(zip(table["id"], rows, strict=True))
        for row_id, other in copies:
            linker.link(rows[[position[row_id]]], rows[[position[other]]])
        if near_distance:
            hashes_N = hash_numbers(table["phash"])
            linker.link(rows, first_positions(hashes_N))
            unique_U, first_U = np.unique(hashes_N, return_index=True)
            for i, j in near_pairs(unique_U, near_distance):
                linker.link(first_U[i], first_U[j])
    if "question" in group_by:
        linker.link(rows, first_positions(question_keys(table)))
    return linker.components()
