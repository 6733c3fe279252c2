"""Image features of the frozen tower, computed once per picture for all epochs, orders and, on disk, jobs.

A picture is an image, or a tile of one. A feature's key is the image's content, the tile's box, the resolution and
mirroring, the image processor, the tower's weights and
precision, and the code and packages that compute pixels and features.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, RowEncoder
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.host_memory import HostMemory
from vqaflow.model.features.pictures import PictureReader
from vqaflow.model.features.shares import Part, Shares
from vqaflow.model.features.wanted import Source, Wanted, by_row, joined, wanted_of
from vqaflow.model.vision.finite_features import finite_features
from vqaflow.runtime.progress import ProgressBar
from vqaflow.runtime.stage import log

PATCHES_A_CALL = 16384
WRITERS = 4
PARTS_AHEAD = 2  # parts that are read while the tower computes one
SHARES = ".shares"  # locks, beside the features on disk


class FeatureCache:
    """Features by picture: kept nowhere (`off`), in the host's memory (`memory`), or in `folder` (`disk`).

    On disk they take no memory: each use reads them again. Only what does not fit on disk stays in memory.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, mode: str, folder: Path) -> None:
        self.base, self.encoder, self.view, self.mode = base, encoder, view, mode
        self.kept: dict[str, torch.Tensor] = {}
        self.memory = HostMemory(base.device)
        self.disk = FeatureFolder(folder, base, encoder, view) if mode == "disk" else None
        self.reader = PictureReader(base, encoder, view, self.disk)

    def of(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[torch.Tensor]:
        """Features (visual tokens, (1 + levels) x H) on the device for each row and its encoding."""
        found, device = self._found(wanted_of(items)), self.base.device
        parts = ([found[key].to(device, non_blocking=True) for key in encoded.keys] for _, encoded in items)
        return [joined(pictures, self.base) for pictures in parts]

    def fill(self, items: Sequence[tuple[Row, EncodedRow]]) -> None:
        """Compute all features now; the tower is not needed again.

        The next parts are read, and the last ones written, while the tower computes one. On disk, other jobs that fill
        the same folder compute theirs of what they need too.
        """
        unique = list({encoded.keys: (row, encoded) for row, encoded in items}.values())
        shares = Shares(unique, self.disk and self.disk.folder / SHARES)
        began = time.monotonic()
        reading: deque[tuple[Part, list[Future[list[Source]]]]] = deque()
        writing: deque[tuple[Part, Writes]] = deque()
        with (
            ProgressBar(len(unique), "vision features", "image") as bar,
            ThreadPoolExecutor(self.reader.threads) as readers,
            ThreadPoolExecutor(WRITERS) as writers,
        ):
            try:
                while True:
                    while len(reading) < PARTS_AHEAD:
                        part = shares.take(wait=not reading and not writing)
                        if part is None:
                            break
                        asked = [readers.submit(self.reader.read, row) for row in self._missing(part.items)]
                        reading.append((part, asked))
                    if not reading and not writing:
                        break
                    if reading:
                        part, asked = reading.popleft()
                        made = self._compute([one for row in asked for one in row.result() if one.patches is not None])
                        writing.append((part, self._keep(made, writers)))
                        bar.advance(len(part.items))
                    while writing and (not reading or len(writing) > 1):
                        self._written(*writing.popleft())
            except BaseException:
                readers.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                for part, _ in (*reading, *writing):
                    part.release()
        if unique:
            seconds = time.monotonic() - began
            speed = len(unique) / max(seconds, 1e-9)  # a coarse clock may not have moved
            log.info("vision features of %d images in %.1f s (%.1f images/s)", len(unique), seconds, speed)

    def _missing(self, items: Sequence[tuple[Row, EncodedRow]]) -> list[list[Wanted]]:
        """The pictures of rows that are not in memory, row by row."""
        return by_row(one for key, one in wanted_of(items).items() if key not in self.kept)

    def _found(self, wanted: Mapping[str, Wanted]) -> dict[str, torch.Tensor]:
        """Features by picture: those kept are found, the others are computed, and kept as the mode says."""
        found = {key: self.kept[key] for key in wanted if key in self.kept}
        rows = by_row(one for key, one in wanted.items() if key not in found)
        if not rows:
            return found
        with ThreadPoolExecutor(self.reader.threads) as pool:
            sources = [one for row in pool.map(self.reader.read, rows) for one in row]
        made = self._compute([source for source in sources if source.patches is not None])
        with ThreadPoolExecutor(WRITERS) as writers:
            self._written(Part([]), self._keep(made, writers))
        return found | {one.wanted.key: one.features for one in sources if one.features is not None} | made

    def _compute(self, sources: Sequence[Source]) -> dict[str, torch.Tensor]:
        """Features by picture, by the tower."""
        made: dict[str, torch.Tensor] = {}
        for group in groups_of([len(source.patches) for source in sources], PATCHES_A_CALL):
            wanted = [sources[i].wanted for i in group]
            grids, rows = [one.grid for one in wanted], [one.row for one in wanted]
            features = finite_features(
                self.base.family.features, self.base.visual, [sources[i].patches for i in group], grids, rows
            )
            made |= zip([one.key for one in wanted], features, strict=True)
        return made

    def _keep(self, made: Mapping[str, torch.Tensor], writers: ThreadPoolExecutor) -> "Writes":
        """Keep features as the mode says: in memory now, on disk by `writers`."""
        if self.mode == "memory":
            self.kept |= {key: self.memory.keep(features) for key, features in made.items()}
        if not self.disk:
            return []
        return [
            (key, copy := features.cpu(), writers.submit(self.disk.write, key, copy)) for key, features in made.items()
        ]

    def _written(self, part: Part, writes: "Writes") -> None:
        """Wait until a part is on disk; what has no room there stays in memory."""
        for key, features, write in writes:
            if not write.result():
                self.kept[key] = self.memory.keep(features)
        part.release()


Writes = list[tuple[str, torch.Tensor, "Future[bool]"]]


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
