"""Which pictures a batch of rows needs features of, each once.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.data.images.pictures import Picture
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.model.families.family import Grid


@dataclass(frozen=True)
class Wanted:
    """A picture of a row's image, under the `key` that its features have."""

    key: str
    row: Row
    picture: Picture
    grid: Grid


@dataclass(frozen=True)
class Source:
    """What a reader found for a picture: its features, or the patches to compute them from, ready to be sent."""

    wanted: Wanted
    features: torch.Tensor | None
    patches: torch.Tensor | None


def pictures_in(row: Row, encoded: EncodedRow) -> list[Wanted]:
    """The pictures of a row, in the order in which its prompt has them."""
    parts = zip(encoded.keys, encoded.pictures, encoded.grids, strict=True)
    return [Wanted(key, row, picture, grid) for key, picture, grid in parts]


def wanted_of(items: Iterable[tuple[Row, EncodedRow]]) -> dict[str, Wanted]:
    """The pictures of rows by their keys; of several rows that have a picture, the last one."""
    return {one.key: one for item in items for one in pictures_in(*item)}


def by_row(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """The same, those of one row together, mirrored ones apart: its image is opened once."""
    rows: dict[tuple[str, bool], list[Wanted]] = {}
    for one in wanted:
        rows.setdefault((one.row.id, one.picture.is_mirrored), []).append(one)
    return list(rows.values())


def joined(parts: Sequence[torch.Tensor], base: Base) -> torch.Tensor:
    """The features (visual tokens, (1 + levels) x H) of a row from those of its pictures; no rows if it has none."""
    if len(parts) == 1:
        return parts[0]
    if parts:
        return torch.cat(list(parts))
    return torch.empty(0, base.feature_width, device=base.device, dtype=base.dtype)
