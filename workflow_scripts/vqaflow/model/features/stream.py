"""Image features for consecutive batches of rows: read ahead, computed once per image, kept on disk for other jobs.

Shapes: H hidden size; levels of DeepStack, 0 in most families.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from vqaflow.artifacts.rows import Row
from vqaflow.config.sections import ViewConfig
from vqaflow.model.base import Base
from vqaflow.model.encoding.row_encoder import EncodedRow, RowEncoder
from vqaflow.model.features.cache import groups_of
from vqaflow.model.features.folder import FeatureFolder
from vqaflow.model.features.pictures import PictureReader
from vqaflow.model.features.wanted import Source, joined, pictures_in
from vqaflow.model.vision.finite_features import finite_features

# Patches in one call of the tower: 8 images of 768 visual tokens fill a large GPU and still fit a small one.
TOWER_PATCHES = 24576
WRITERS = 2
MOST_WRITES = 64  # features that wait to be written; with a disk slower than the GPU, fewer are kept and nothing waits


@dataclass(frozen=True)
class Prepared:
    """A table row with its encoding."""

    row: Row
    encoded: EncodedRow


class FeatureStream:
    """The tower's features of batches, read ahead; an image is read and computed once for two neighbours.

    The keys of a row's pictures stand for its image: rows that share one picture share all.
    """

    def __init__(self, base: Base, encoder: RowEncoder, view: ViewConfig, folder: FeatureFolder | None) -> None:
        self.base, self.encoder, self.view, self.folder = base, encoder, view, folder
        self.reader = PictureReader(base, encoder, view, folder)
        self.writes: list[Future[bool]] = []

    def stream(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[tuple[Sequence[Prepared], list[torch.Tensor]]]:
        """Each batch with its rows' features (visual tokens, (1 + levels) x H) on the device."""
        waiting: deque[tuple[Sequence[Prepared], Sources]] = deque()
        sources: Sources = {}
        features: dict[str, torch.Tensor] = {}
        ahead, threads = self.reader.ahead, self.reader.threads
        with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(WRITERS) as writers:
            for batch in [*batches, None]:
                if batch is not None:
                    images = {item.encoded.keys: item for item in batch}
                    sources = {
                        i: sources.get(i) or pool.submit(self.reader.read, pictures_in(item.row, item.encoded))
                        for i, item in images.items()
                    }
                    waiting.append((batch, sources))
                while waiting and (batch is None or enough(waiting, ahead)):
                    now, found = waiting.popleft()
                    known = {key for keys in found for key in keys}
                    features = {key: kept for key, kept in features.items() if key in known}
                    features |= self._computed(found, features.keys(), writers)
                    yield now, [joined([features[key] for key in item.encoded.keys], self.base) for item in now]

    def _computed(
        self, sources: "Sources", known: Collection[str], writers: ThreadPoolExecutor
    ) -> dict[str, torch.Tensor]:
        """Features of the pictures in `sources`, but of `known` ones; new ones are written in the background."""
        todo, made = [], {}
        for source in (one for keys, image in sources.items() if set(keys) - set(known) for one in image.result()):
            if source.features is not None:
                made[source.wanted.key] = source.features.to(self.base.device, non_blocking=True)
            else:
                todo.append(source)
        self.writes = [write for write in self.writes if not write.done()]
        for group in groups_of([len(source.patches) for source in todo], TOWER_PATCHES):
            wanted = [todo[i].wanted for i in group]
            new = finite_features(
                self.base.family.features,
                self.base.visual,
                [todo[i].patches for i in group],
                [one.grid for one in wanted],
                [one.row for one in wanted],
            )
            keys = [one.key for one in wanted]
            made.update(zip(keys, new, strict=True))
            if self.folder and len(self.writes) < MOST_WRITES:
                self.writes += [writers.submit(self.folder.write, k, f.cpu()) for k, f in zip(keys, new, strict=True)]
        return made


def enough(waiting: Sequence[tuple[Sequence[Prepared], "Sources"]], ahead: int) -> bool:
    """Whether enough is read after the first of the batches that wait: a batch, and at least `ahead` images."""
    return len(waiting) > 1 and sum(len(sources) for _, sources in list(waiting)[1:]) >= ahead


Sources = dict[tuple[str, ...], "Future[list[Source]]"]
