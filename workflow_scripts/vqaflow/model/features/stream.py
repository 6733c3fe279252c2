"""Image features for consecutive batches of rows: read ahead, computed once per image, kept on disk for other jobs.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, RowEncoder
from vqaflow.model.features.cache import groups_of
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.host_memory import to_send
from vqaflow.model.vision.finite_features import finite_features

# Patches in one call of the tower: 8 images of 768 visual tokens fill a large GPU and still fit a small one.
TOWER_PATCHES = 24576
READERS, WRITERS = 4, 2
MOST_WRITES = 64  # features that wait to be written; with a disk slower than the GPU, fewer are kept and nothing waits


@dataclass(frozen=True)
class Prepared:
    """A table row with its encoding."""

    row: Row
    encoded: EncodedRow


@dataclass(frozen=True)
class Source:
    """What the background threads found for an image: its features, or the patches to compute them from."""

    features: torch.Tensor | None
    patches: torch.Tensor | None


class FeatureStream:
    """The tower's features of batches, one batch ahead; an image is read and computed once for two neighbours."""

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, folder: FeatureFolder | None) -> None:
        self.base, self.encoder, self.view, self.folder = base, encoder, view, folder
        self.writes: list[Future[bool]] = []

    def stream(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[tuple[Sequence[Prepared], list[torch.Tensor]]]:
        """Each batch with its rows' features (visual tokens, (1 + levels) x H) on the device."""
        waiting: deque[tuple[Sequence[Prepared], dict[str, Future[Source]]]] = deque()
        sources: dict[str, Future[Source]] = {}
        features: dict[str, torch.Tensor] = {}
        with ThreadPoolExecutor(READERS) as pool, ThreadPoolExecutor(WRITERS) as writers:
            for batch in [*batches, None]:
                if batch is not None:
                    images = {item.row.sha256: item for item in batch}
                    sources = {i: sources.get(i) or pool.submit(self._read, item) for i, item in images.items()}
                    waiting.append((batch, sources))
                if len(waiting) > 1 or (batch is None and waiting):
                    now, found = waiting.popleft()
                    features = {image: known for image, known in features.items() if image in found}
                    features |= self._computed(now, {i: f for i, f in found.items() if i not in features}, writers)
                    yield now, [features[item.row.sha256] for item in now]

    def _read(self, item: Prepared) -> Source:
        """In the background: an image's features from the disk, else its patches, ready to be sent to the device."""
        kept = self.folder.read(item.row.sha256) if self.folder else None
        if kept is not None:
            return Source(to_send(kept, self.base.device), None)
        return Source(None, to_send(self.encoder.pixels(item.row.image_file, self.view), self.base.device))

    def _computed(
        self, batch: Sequence[Prepared], sources: Mapping[str, "Future[Source]"], writers: ThreadPoolExecutor
    ) -> dict[str, torch.Tensor]:
        """Features of the images in `sources`, by the image's digest; new ones are written in the background."""
        device, items = self.base.device, {item.row.sha256: item for item in batch}
        ready = {image: source.result() for image, source in sources.items()}
        made = {i: s.features.to(device, non_blocking=True) for i, s in ready.items() if s.features is not None}
        todo = [image for image in ready if image not in made]
        self.writes = [write for write in self.writes if not write.done()]
        for group in groups_of([len(ready[image].patches) for image in todo], TOWER_PATCHES):
            images = [todo[i] for i in group]
            rows = [items[image] for image in images]
            patches = [ready[image].patches for image in images]
            new = finite_features(
                self.base.family.features,
                self.base.visual,
                patches,
                [item.encoded.grid for item in rows],
                [item.row for item in rows],
            )
            made.update(zip(images, new, strict=True))
            if self.folder and len(self.writes) < MOST_WRITES:
                self.writes += [writers.submit(self.folder.write, i, f.cpu()) for i, f in zip(images, new, strict=True)]
        return made
