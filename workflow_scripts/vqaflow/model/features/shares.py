"""How jobs that need the features of the same images divide them: each image is computed by one of them.

The images are cut into shards by their digests. A job computes the shards whose locks it gets, and meanwhile leaves
the others to whoever holds theirs; in the end it waits for those, and finds on the disk what the other job has written.
The kernel frees the locks of a job that is killed: what it had not written is computed by the one that gets them next.
"""

from collections.abc import Sequence
from pathlib import Path

from vqaflow.artifacts.rows import Row
from vqaflow.model.encoding.row_encoder import EncodedRow
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.locks import Lease
from vqaflow.runtime.stage import log

Item = tuple[Row, EncodedRow]
TOGETHER = 32  # images that are read, computed and written as one part
DIGITS = 2  # of an image's digest that name its shard


class Part:
    """Some of the images; no other job computes them until `release`."""

    def __init__(self, items: list[Item], leases: Sequence[Lease] = ()) -> None:
        self.items, self.leases = items, list(leases)

    def release(self) -> None:
        """Let other jobs have what is left to compute: nothing, if all of it was written."""
        while self.leases:
            self.leases.pop().release()


class Shares:
    """The images of `items`, part by part; shared with the jobs that have the same `folder`, by themselves if None."""

    def __init__(self, items: Sequence[Item], folder: Path | None) -> None:
        self.folder, self.alone = folder, list(items)
        self.shards: dict[str, list[Item]] = {}
        self.said = False
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for item in items:
                self.shards.setdefault(item[0].sha256[:DIGITS], []).append(item)
            self.alone = self.shards.pop("", [])  # rows without an image

    def take(self, wait: bool) -> Part | None:
        """The next part; None if there is none, or none now because other jobs hold all that is left.

        To `wait` for these, a job must hold no part itself: two could wait for each other.
        """
        if self.alone:
            part, self.alone = self.alone[:TOGETHER], self.alone[TOGETHER:]
            return Part(part)
        try:
            return self._take_shards(wait)
        except UserError as error:
            log.warning("%s Jobs that start together compute the same images", error)
            self.alone, self.shards = [item for items in self.shards.values() for item in items], {}
            return self.take(wait)

    def _take_shards(self, wait: bool) -> Part | None:
        items: list[Item] = []
        leases: list[Lease] = []
        for shard in list(self.shards):
            if len(items) >= TOGETHER:
                break
            lease = Lease(self.folder / f"{shard}.lock")
            if lease.take():
                leases.append(lease)
                items += self.shards[shard]
        for lease in leases:  # all at once: a lock that fails in between must lose no image
            self.shards.pop(lease.path.stem)
        if not items and self.shards and wait:
            shard = next(iter(self.shards))
            if not self.said:
                log.info("waiting for images that another job computes")
                self.said = True
            leases, items = [Lease(self.folder / f"{shard}.lock")], self.shards.pop(shard)
            leases[0].take(wait=True)
        return Part(items, leases) if items else None
