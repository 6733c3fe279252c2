"""From which folder a table's image paths start, found by trying, and how large the images are."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqaflow.data.competition.folder import Listing
from vqaflow.data.images.decoding import ImageProblem, declared_size
from vqaflow.data.images.finding import find_image

SAMPLED = 200  # rows whose images are looked for
SPLITS = ("train", "test", "dev", "val")  # what tables and folders are called after
TRIED = 8  # of them, by which a folder is dismissed


@dataclass(frozen=True)
class Pictures:
    """The image paths of the table `name`: those of `sampled` rows, and how many have a file under each folder."""

    name: str
    sampled: Sequence[str]
    hits: dict[Path, int] = field(default_factory=dict)
    linked: frozenset[Path] = frozenset()  # folders whose images are only found if links may lead out of them

    @property
    def best(self) -> Path | None:
        """The folder with most hits; of several the one that is called like the table, else the first."""
        return max(self.hits, key=self.rank, default=None)

    def rank(self, root: Path) -> tuple[int, int]:
        """How well a folder fits: its hits, and whether it is called like this table (1) or like another (-1).

        Where train and test have images of the same names, 0001.jpg and so on, only the folders' names tell them apart.
        """
        own = {word for word in SPLITS if word in self.name.lower()}
        called = {word for word in SPLITS if word in root.name.lower()}
        told = bool(own and called) and not any(cell.startswith("/") for cell in self.sampled[:1])
        return self.hits.get(root, 0), (1 if own & called else -1) if told else 0


def find_pictures(cells: Sequence[str], roots: Iterable[Path], name: str) -> Pictures:
    """Try the folders `roots` for the image `cells` of a table."""
    filled = [cell for cell in cells if cell.strip()]
    sampled = [filled[i * len(filled) // SAMPLED] for i in range(SAMPLED)] if len(filled) > SAMPLED else filled
    tried = [sampled[i * len(sampled) // TRIED] for i in range(TRIED)] if len(sampled) > TRIED else sampled
    hits, linked = {}, set()
    for root in roots:
        if not any(is_there(cell, root, True) for cell in tried) and not is_dense(sampled, root):
            continue
        count = sum(is_there(cell, root, True) for cell in sampled)
        if count:
            hits[root] = count
            if sum(is_there(cell, root, False) for cell in sampled) < count:
                linked.add(root)
    return Pictures(name, sampled, hits, frozenset(linked))


def is_dense(sampled: Sequence[str], root: Path) -> bool:
    """Whether a cell's own folder is under `root`, so that all sampled cells are worth a look."""
    return bool(sampled) and any((root / cell).parent.is_dir() and "/" in cell for cell in sampled[:1])


def is_there(cell: str, root: Path, follow_links: bool) -> bool:
    """Whether an image cell leads to a file."""
    try:
        find_image(cell, root, follow_links)
    except ImageProblem:
        return False
    return True


def roots_to_try(listing: Listing, table: Path, cells: Sequence[str], given: Path | None) -> list[Path]:
    """The folders that the image paths of a table may start from, the likelier ones first."""
    if given is not None:
        return [given]
    absolute = [os.path.dirname(cell) for cell in cells if cell.startswith("/")]
    common = Path(os.path.commonpath(absolute)) if absolute else None
    above = [place for place in (common, *common.parents[:-1]) if place.is_dir()] if common else []
    return list(dict.fromkeys([*above, table.parent, listing.folder, *listing.folders]))


def sizes_of(pictures: Pictures, root: Path) -> list[tuple[int, int]]:
    """(width, height) of the sampled images that are there."""
    sizes = []
    for cell in pictures.sampled:
        try:
            sizes.append(declared_size(find_image(cell, root, follow_links=True)))
        except ImageProblem:
            continue
    return sizes


def extensions_of(cells: Sequence[str]) -> str:
    """The extensions of the images that `cells` name, the most frequent first."""
    counts = Counter(Path(cell).suffix.lower() for cell in cells)
    return ", ".join(suffix or "(none)" for suffix, _ in counts.most_common(4))
