"""Image features of the frozen tower, computed once per picture for all epochs, orders and, on disk, jobs.

A picture is an image, or a tile of one. A feature's key is the image's content, the tile's box, the resolution and
mirroring, the image processor, the tower's weights and
precision, and the code and packages that compute pixels and features.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, RowEncoder
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.host_memory import HostMemory, to_send
from vqaflow.model.features.wanted import Wanted, by_row, joined, wanted_of
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.runtime.progress import ProgressBar

PATCHES_A_CALL = 16384
READERS = 2


class FeatureCache:
    """Features by picture: kept nowhere (`off`), in the host's memory (`memory`), or in `folder` (`disk`).

    On disk they take no memory: each use reads them again. Only what does not fit on disk stays in memory.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, mode: str, folder: Path) -> None:
        self.base, self.encoder, self.view, self.mode = base, encoder, view, mode
        self.kept: dict[str, torch.Tensor] = {}
        self.memory = HostMemory(base.device)
        self.disk = FeatureFolder(folder, base, encoder, view) if mode == "disk" else None

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, (1 + levels) x H) on the device for each row and its encoding."""
        found, device = self._found(wanted_of(items)), self.base.device
        parts = ([found[key].to(device, non_blocking=True) for key in encoded.keys] for _, encoded in items)
        return [joined(pictures, self.base) for pictures in parts]

    def fill(self, items: Sequence[tuple[Row, EncodedRow]]) -> None:
        """Compute all features now; the tower is not needed again."""
        unique = list({encoded.keys: (row, encoded) for row, encoded in items}.values())
        with ProgressBar(len(unique), "vision features", "image") as bar:
            for start in range(0, len(unique), 32):
                self._found(wanted_of(unique[start : start + 32]))
                bar.advance(len(unique[start : start + 32]))

    def _found(self, wanted: Mapping[str, Wanted]) -> dict[str, torch.Tensor]:
        """Features by picture: those kept are found, the others are computed, and kept as the mode says."""
        found = {key: self.kept[key] for key in wanted if key in self.kept}
        if self.disk:
            read = {key: self.disk.read(key) for key in wanted if key not in found}
            found |= {key: features for key, features in read.items() if features is not None}
        return found | self._compute([one for key, one in wanted.items() if key not in found])

    def _compute(self, wanted: list[Wanted]) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        together = by_row(wanted)
        wanted = [one for row in together for one in row]
        with ThreadPoolExecutor(READERS) as pool:
            pixels = [patches for row in pool.map(self._read, together) for patches in row]
        for group in groups_of([len(p) for p in pixels], PATCHES_A_CALL):
            pictures = [wanted[i] for i in group]
            grids, rows = [one.grid for one in pictures], [one.row for one in pictures]
            features = finite_features(
                self.base.family.features, self.base.visual, [pixels[i] for i in group], grids, rows
            )
            made |= zip([one.key for one in pictures], features, strict=True)
            for one in pictures:
                self._keep(one.key, made[one.key])
        return made

    def _read(self, wanted: list[Wanted]) -> list[torch.Tensor]:
        """The patches of pictures of one row, ready to be sent to the device."""
        made = self.encoder.patches(wanted[0].row, self.view, [one.picture for one in wanted])
        return [to_send(patches, self.base.device) for patches in made]

    def _keep(self, key: str, features: torch.Tensor) -> None:
        if self.mode == "memory" or (self.disk and not self.disk.write(key, features)):
            self.kept[key] = self.memory.keep(features)


def groups_of(sizes: list[int], limit: int) -> list[list[int]]:
    """Indices in order, cut into groups whose sizes add up to at most `limit`, or of one larger size."""
    groups: list[list[int]] = []
    total = limit
    for i, size in enumerate(sizes):
        if total + size > limit:
            groups.append([])
            total = 0
        groups[-1].append(i)
        total += size
    return groups
