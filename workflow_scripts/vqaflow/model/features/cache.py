"""Image features of the frozen tower, computed once per image for all epochs, orders and, on disk, jobs.

A feature's key is the image's content, its resolution and mirroring, the image processor, the tower's weights and
precision, and the code and packages that compute pixels and features.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, RowEncoder
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.host_memory import HostMemory, to_send
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.runtime.progress import ProgressBar

PATCHES_A_CALL = 16384
READERS = 2


class FeatureCache:
    """Features by image: kept nowhere (`off`), in the host's memory (`memory`), or in `folder` (`disk`).

    On disk they take no memory: each use reads them again. Only what does not fit on disk stays in memory.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, mode: str, folder: Path) -> None:
        self.base, self.encoder, self.view, self.mode = base, encoder, view, mode
        self.kept: dict[str, torch.Tensor] = {}
        self.memory = HostMemory(base.device)
        self.disk = FeatureFolder(folder, base, encoder, view) if mode == "disk" else None

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, (1 + levels) x H) on the device for each row and its encoding."""
        found = self._found(items)
        return [found[row.sha256].to(self.base.device, non_blocking=True) for row, _ in items]

    def fill(self, items: Sequence[tuple[Row, EncodedRow]]) -> None:
        """Compute all features now; the tower is not needed again."""
        unique = list({row.sha256: (row, encoded) for row, encoded in items}.values())
        with ProgressBar(len(unique), "vision features", "image") as bar:
            for start in range(0, len(unique), 32):
                self._found(unique[start : start + 32])
                bar.advance(len(unique[start : start + 32]))

    def _found(self, items: Sequence[tuple[Row, EncodedRow]]) -> dict[str, torch.Tensor]:
        """Features by image: those kept are found, the others are computed, and kept as the mode says."""
        images = {row.sha256: (row, encoded) for row, encoded in items}
        found = {image: self.kept[image] for image in images if image in self.kept}
        if self.disk:
            read = {image: self.disk.read(image) for image in images if image not in found}
            found |= {image: features for image, features in read.items() if features is not None}
        return found | self._compute([item for image, item in images.items() if image not in found])

    def _compute(self, items: list[tuple[Row, EncodedRow]]) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {}
        with ThreadPoolExecutor(READERS) as pool:
            pixels = list(pool.map(lambda item: self._read(item[0]), items))
        for group in groups_of([len(p) for p in pixels], PATCHES_A_CALL):
            rows = [items[i][0] for i in group]
            grids = [items[i][1].grid for i in group]
            features = finite_features(
                self.base.family.features, self.base.visual, [pixels[i] for i in group], grids, rows
            )
            made |= zip([row.sha256 for row in rows], features, strict=True)
            for row in rows:
                self._keep(row.sha256, made[row.sha256])
        return made

    def _read(self, row: Row) -> torch.Tensor:
        return to_send(self.encoder.pixels(row.image_file, self.view), self.base.device)

    def _keep(self, image: str, features: torch.Tensor) -> None:
        if self.mode == "memory" or (self.disk and not self.disk.write(image, features)):
            self.kept[image] = self.memory.keep(features)


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
